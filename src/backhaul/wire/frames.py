"""Length-prefixed strings: `u16 length | u8 type | bytes`, big-endian (outside of smux)."""

from struct import Struct
from typing import NamedTuple

from backhaul.errors import TransportError

_HEAD = Struct("!HB")
HEAD_SIZE = _HEAD.size


class Frame(NamedTuple):
    """A framed string and the bytes that came behind it."""

    kind: int
    body: bytes
    rest: bytes


class FrameTooLongError(TransportError):
    """The peer announced more bytes than this end is willing to hold."""


def encode(kind: int, body: bytes) -> bytes:
    """Frame `body` (at most 65535 bytes, else struct.error) with the type `kind`."""
    return _HEAD.pack(len(body), kind) + body


class FrameKindError(TransportError):
    """The peer sent a frame of a type that has no business here."""


class FrameReader:
    """Collects exactly one framed string, however the bytes are cut; of certain `kinds`, if they are given."""

    __slots__ = ("_buffer", "_kinds", "_limit")

    def __init__(self, limit: int, kinds: frozenset[int] | None = None) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._kinds = kinds

    def feed(self, data: bytes | memoryview) -> Frame | None:
        """Take more bytes; the frame once it is whole, with what came behind it.

        Raises FrameKindError or FrameTooLongError as soon as the head shows one or the other.
        """
        self._buffer += data
        if len(self._buffer) < HEAD_SIZE:
            return None
        length, kind = _HEAD.unpack_from(self._buffer)
        if self._kinds is not None and kind not in self._kinds:
            raise FrameKindError(f"frame of the unknown type {kind}")
        if length > self._limit:
            raise FrameTooLongError(f"frame of {length} bytes announced, at most {self._limit} accepted")
        end = HEAD_SIZE + length
        if len(self._buffer) < end:
            return None
        return Frame(kind, bytes(self._buffer[HEAD_SIZE:end]), bytes(self._buffer[end:]))
