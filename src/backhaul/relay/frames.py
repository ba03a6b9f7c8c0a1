"""Memory for outgoing frames, which may be kept after they were sent, so that they need not be copied."""

from typing import Final

from backhaul.net.buffers import huge_buffer, shared_buffer

KEPT_SIZE: Final = (1 << 17) + (1 << 13)
"""Bytes of a piece of memory: enough for what a stream sends per wake-up, with its headers and control frames."""
_ARENA_SIZE: Final = 1 << 21  # bytes that are taken from the kernel at once: one huge page
_PIECES: Final = _ARENA_SIZE // KEPT_SIZE  # in an arena


class Frames:
    """The memory in which the outgoing frames of a wake-up are built."""

    __slots__ = ("memory",)

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        """Memory for the frames of this wake-up."""


class KeptFrames(Frames):
    """Memory that senders may keep, and give back when its frames are no longer needed.

    It is used again, because new memory costs more than all else about it: page faults took a third of the CPU time of
    eight bulk streams. Its owners call ``trim`` now and then.
    """

    __slots__ = ("_free", "_kept")

    def __init__(self) -> None:
        super().__init__(shared_buffer(KEPT_SIZE))
        self._free: list[memoryview] = []
        self._kept = 0  # pieces

    def keep(self) -> memoryview:
        """Return the present memory, which is the caller's now; the next frames are built in another one.

        Raises OSError, and keeps nothing, if the kernel has no memory for those.
        """
        memory = self._free.pop() if self._free else self._grow()
        kept, self.memory = self.memory, memory
        self._kept += 1
        return kept

    def give_back(self, pieces: list[memoryview]) -> None:
        """Use pieces again that were kept."""
        self._kept -= len(pieces)
        self._free += pieces

    def trim(self) -> None:
        """Leave as much free memory as is kept now: none if nothing is."""
        del self._free[: max(0, len(self._free) - self._kept)]

    def _grow(self) -> memoryview:
        """Take an arena from the kernel, and return one of its pieces."""
        arena = huge_buffer(_ARENA_SIZE)
        self._free += [arena[at * KEPT_SIZE : (at + 1) * KEPT_SIZE] for at in range(_PIECES)]
        return self._free.pop()
