"""Records that arrive as binary WebSocket messages, each in one: the common part of users' channels and of sessions."""

from typing import Final

from backhaul.security.records import KIND_SIZE, MAX_BODY, TAG_SIZE, Opener, RecordError
from backhaul.wire import websocket

_SMALLEST: Final = KIND_SIZE + TAG_SIZE
_LARGEST: Final = KIND_SIZE + MAX_BODY + TAG_SIZE
_NO_BYTES: Final = bytearray()
_NO_RECORD: Final = memoryview(b"")


class RecordMessages:
    """Collects records from the payload of messages. Proxies may cut messages into fragments, or change their masks."""

    __slots__ = ("_opener", "_rest")

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._rest = _NO_BYTES  # the beginning of a record whose end has not arrived yet

    @property
    def unfinished(self) -> int:
        """Bytes that are kept of a record whose end has not arrived yet."""
        return len(self._rest)

    def collect(self, opcode: int, piece: memoryview, *, message_end: bool) -> memoryview:
        """Return the record that ``piece`` completes, kind first; empty if there is none. Raises RecordError.

        The record is opened in place, unless it arrives in pieces, or had to be copied because a proxy masked it. It is
        valid until the memory of ``piece`` is overwritten.
        """
        if opcode != websocket.BINARY:
            raise RecordError("a text message where only records are expected")
        if self._rest or not message_end or piece.readonly:
            if len(self._rest) + len(piece) > _LARGEST:
                raise RecordError(f"a message exceeds {_LARGEST} bytes")
            self._rest = self._rest or bytearray()  # no idle connection has one of its own
            self._rest += piece
            if not message_end:
                return _NO_RECORD
            piece, self._rest = memoryview(self._rest), _NO_BYTES
        if len(piece) < _SMALLEST:
            raise RecordError(f"a message of {len(piece)} bytes holds no record")
        return self._opener.open_in_place(piece)
