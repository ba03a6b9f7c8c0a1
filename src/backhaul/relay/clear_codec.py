"""Users' bytes in clear, in blocks. Importing this module loads ``cryptography``, which takes 10 MB."""

from typing import Final

from backhaul.security import kinds
from backhaul.security.records import RecordError, Seals
from backhaul.wire import blocks

from .channel import FRAMES_AT, OUT
from .codec import NOBODY, Events
from .direction import COPY_SIZE

_RESET: Final = blocks.encode(blocks.RESET)
_RESET_AFTER_END: Final = blocks.encode(blocks.RESET_AFTER_END)
_PING: Final = blocks.payload_header(0)


class ClearCodec(blocks.BlockReader):
    """Blocks on a connection whose announcements and returns are sealed."""

    __slots__ = ("_seals", "events")
    header_room = blocks.HEADER_SIZE
    frame_size = COPY_SIZE
    half_close = True
    pings = False  # the kernel probes the connection
    whole_frames = True
    unfinished = 0  # payload is passed on as it arrives, and all other blocks are small

    def __init__(self, seals: Seals) -> None:
        super().__init__()
        self._seals = seals
        self.events: Events = NOBODY

    def message(self, count: int) -> memoryview:
        """Return the block of ``count`` bytes in OUT."""
        blocks.put_header(OUT, FRAMES_AT, count)
        return OUT[FRAMES_AT : FRAMES_AT + blocks.HEADER_SIZE + count]

    def end(self, taken: int) -> bytes:
        """Return the end of this direction."""
        return blocks.encode_end(taken)

    def reset(self) -> bytes:
        """Return a reset."""
        return _RESET

    def reset_after_end(self) -> bytes:
        """Return a reset that follows the end of this direction."""
        return _RESET_AFTER_END

    def ping(self) -> bytes:
        """Return a block without a meaning."""
        return _PING

    def free(self) -> bytes:
        """Return the block that gives the connection back."""
        return blocks.encode(blocks.FREE, self._seals.sealer.seal(bytes([kinds.FREE])))

    @property
    def between_messages(self) -> bool:
        """True if no part of another block has arrived."""
        return self.between_blocks

    def release(self) -> None:
        """Stop reporting."""
        self.events = NOBODY

    def on_payload(self, piece: memoryview) -> None:
        """Report payload."""
        self.events.on_payload(piece)

    def on_block(self, kind: int, body: bytes) -> None:
        """Report an end, a reset or a return. Raises TransportError."""
        if kind == blocks.END:
            self.events.on_end(blocks.taken_of(body))
        elif kind == blocks.RESET:
            self.events.on_reset()
        elif kind == blocks.RESET_AFTER_END:
            self.events.on_reset_after_end()
        elif kind == blocks.FREE and self._seals.opener.open(body) == bytes([kinds.FREE]):
            self.events.on_free()
        else:
            raise RecordError(f"a block of kind {kind} that has no meaning")
