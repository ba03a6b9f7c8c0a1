"""Memory for outgoing frames, which may be kept after they were sent, so that they need not be copied."""

from typing import Final

from backhaul.net.buffers import shared_buffer

KEPT_SIZE: Final = (1 << 17) + (1 << 13)
"""Bytes of a piece of memory: enough for what a stream sends per wake-up, with its headers and control frames."""
_MOST_FREE: Final = 24  # pieces, 3 MB; more than the bytes of one acknowledgement take


class Frames:
    """The memory in which the outgoing frames of a wake-up are built."""

    __slots__ = ("memory",)

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        """Memory for the frames of this wake-up."""


class KeptFrames(Frames):
    """Memory that senders may keep, and give back when its frames are no longer needed."""

    __slots__ = ("_free",)

    def __init__(self) -> None:
        super().__init__(shared_buffer(KEPT_SIZE))
        self._free: list[memoryview] = []

    def keep(self) -> None:
        """Leave the present memory to the caller; the next frames are built in another one."""
        self.memory = self._free.pop() if self._free else shared_buffer(KEPT_SIZE)

    def give_back(self, pieces: list[memoryview]) -> None:
        """Use the memory of pieces that were kept again."""
        free = self._free
        free += [memoryview(piece.obj) for piece in pieces[: _MOST_FREE - len(free)]]
