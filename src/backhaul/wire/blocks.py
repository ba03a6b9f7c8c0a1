"""Blocks: users' bytes in clear on a connection that serves one user after the other, without input or output.

Unlike FIN and RST of TCP, the end of a direction and a reset leave the connection open::

    u8 kind | u24 length | body

A block has its length in front, so that the kernel can move its payload from socket to socket.
"""

from abc import ABC, abstractmethod
from struct import Struct
from typing import Final

from backhaul.errors import TransportError

HEADER_SIZE: Final = 4
MAX_PAYLOAD: Final = (1 << 24) - 1
"""Bytes in one block of payload."""
MAX_BODY: Final = 64
"""Bytes of any other block, which is kept until it is complete."""

PAYLOAD: Final = 0
"""Bytes of a user or target."""
END: Final = 1
"""The end of this direction. The body is the number of bytes that have been taken of the other one until now.

A connection that closes before it has been cut.
"""
RESET: Final = 2
"""The reset of a user or target."""
FREE: Final = 3
"""The client has finished with the user. The body is a sealed record, which no other peer can make."""
RESET_AFTER_END: Final = 4
"""The reset of a user or target whose direction has ended before."""

_HEADER: Final = Struct("!I")
_END: Final = Struct("!IQ")  # the header, and the number of bytes
_MOST_LEFT: Final = PAYLOAD << 24 | MAX_PAYLOAD  # the header of the largest block of payload


class BlockError(TransportError):
    """The peer has sent bytes that are not a block."""


def put_header(memory: memoryview, at: int, count: int) -> None:
    """Write the header of ``count`` bytes of payload, at most ``MAX_PAYLOAD``, into ``memory``."""
    _HEADER.pack_into(memory, at, count)


def payload_header(count: int) -> bytes:
    """Return the header of ``count`` bytes of payload, at most ``MAX_PAYLOAD``."""
    return _HEADER.pack(count)


def encode(kind: int, body: bytes = b"") -> bytes:
    """Return a block of a kind other than payload; ``body`` has at most ``MAX_BODY`` bytes."""
    return _HEADER.pack(kind << 24 | len(body)) + body


def encode_end(taken: int) -> bytes:
    """Return the end of a direction, after ``taken`` bytes of the other one."""
    return _END.pack(END << 24 | _END.size - HEADER_SIZE, taken)


def taken_of(body: bytes) -> int:
    """Return the number of bytes in the body of an end. Raises BlockError."""
    if len(body) != _END.size - HEADER_SIZE:
        raise BlockError(f"an end of {len(body)} bytes")
    return int.from_bytes(body)


class BlockReader(ABC):
    """Splits a byte stream into blocks, however its bytes are cut. Payload is passed on in pieces, without a copy."""

    __slots__ = ("_rest", "_stopped", "announced", "left")

    def __init__(self) -> None:
        self.announced = 0
        """Bytes of the last block of payload."""
        self.left = 0
        """Bytes of it that have not arrived yet."""
        self._rest = b""  # the beginning of a header or of another block; all that follows a stop
        self._stopped = False

    @abstractmethod
    def on_payload(self, piece: memoryview) -> None:
        """Take payload, which is valid as long as the memory passed to ``feed``."""

    @abstractmethod
    def on_block(self, kind: int, body: bytes) -> None:
        """Take another block. Raises TransportError."""

    @property
    def between_blocks(self) -> bool:
        """True if no part of another block has arrived."""
        return self._stopped or not (self.left or self._rest)

    def stop(self) -> None:
        """Keep the bytes after the present block."""
        self._stopped = True

    def rest(self) -> bytes:
        """Return the bytes since the stop."""
        return self._rest

    def skip(self, count: int) -> None:
        """Leave out ``count`` bytes of the present payload, at most ``left``, which have been taken elsewhere."""
        self.left -= count

    def feed(self, data: memoryview) -> None:
        """Take more bytes. Raises BlockError, and any error of ``on_block``."""
        at, end = 0, len(data)
        while at < end:
            if self.left:
                after = min(end, at + self.left)
                self.left -= after - at
                self.on_payload(data[at:after])
                at = after
            elif self._stopped:
                self._rest += data[at:]
                at = end
            elif self._rest or end - at < HEADER_SIZE:
                at = self._gather(data, at)
            else:
                header: int = _HEADER.unpack_from(data, at)[0]
                length = header & MAX_PAYLOAD
                if header <= _MOST_LEFT:
                    self.left = self.announced = length
                    at += HEADER_SIZE
                elif length <= min(MAX_BODY, end - at - HEADER_SIZE):  # the usual case: the whole block is here
                    body = at + HEADER_SIZE
                    at = body + length
                    self.on_block(header >> 24, bytes(data[body:at]))
                else:
                    at = self._gather(data, at)

    def _gather(self, data: memoryview, at: int) -> int:
        """Keep the bytes of a header, and of a body that is not payload; return where the next bytes begin."""
        rest = self._rest
        after = at + max(0, HEADER_SIZE - len(rest))
        rest += data[at:after]
        if len(rest) < HEADER_SIZE:
            self._rest = rest
            return len(data)
        header: int = _HEADER.unpack_from(rest)[0]
        if header <= _MOST_LEFT:
            self._rest, self.left, self.announced = b"", header, header
            return after
        return self._gather_body(data, after, rest)

    def _gather_body(self, data: memoryview, at: int, rest: bytes) -> int:
        kind, length = rest[0], int.from_bytes(rest[1:HEADER_SIZE])
        if length > MAX_BODY:
            raise BlockError(f"a block of kind {kind} and {length} bytes announced")
        after = at + HEADER_SIZE + length - len(rest)
        rest += data[at:after]
        complete = len(rest) == HEADER_SIZE + length
        self._rest = b"" if complete else rest
        if complete:
            self.on_block(kind, rest[HEADER_SIZE:])
        return min(after, len(data))
