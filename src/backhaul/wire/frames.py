"""Length-prefixed strings: ``u16 length | u8 type | bytes``, big-endian (outside of smux)."""

from enum import Enum
from struct import Struct
from typing import NamedTuple

from backhaul.errors import TransportError

from . import base64url

_HEAD = Struct("!HB")
HEAD_SIZE = _HEAD.size


class Frame(NamedTuple):
    """A framed string and the bytes after it."""

    kind: int
    body: bytes
    rest: bytes


class FrameTooLongError(TransportError):
    """The peer announced more bytes than this end accepts."""


def encode(kind: int, body: bytes) -> bytes:
    """Frame ``body`` (at most 65535 bytes, else struct.error) with the type ``kind``."""
    return _HEAD.pack(len(body), kind) + body


class Sealed(Enum):
    """The sealed messages with which connections of two ends of this program begin, by the top bits of their type.

    No type of v0.7.2 has the highest bit. The lower six are random, so that connections have few bits in common. The
    message is text (``base64url``): firewalls are known that end a connection whose first packet looks random, with
    four of eight bits set, and let it pass if half of its bytes are printable ("How the Great Firewall of China Detects
    and Blocks Fully Encrypted Traffic", USENIX Security 2023; nDPI has the same rules). So the token of v0.7.2 passes.
    """

    NOTHING = 0
    HANDSHAKE = 0x80
    ADMISSION = 0xC0

    def frame(self, message: bytes, bits: int) -> bytes:
        """Return a message in a frame of this kind, whose type is made with random bits."""
        return encode(self.value | bits & 0x3F, base64url.encode(message))


def sealed_message(body: bytes | memoryview) -> bytes:
    """Return the message of a sealed frame; empty if it holds none."""
    return base64url.decode(body)


def sealed_kind(kind: int) -> Sealed:
    """Return the sealed message that a frame of this type holds."""
    return _SEALED[kind >> 6]


_SEALED = (Sealed.NOTHING, Sealed.NOTHING, Sealed.HANDSHAKE, Sealed.ADMISSION)


class FrameKindError(TransportError):
    """The peer sent a frame of a type that does not belong here."""


class FrameReader:
    """Collects one framed string, however its bytes are cut; only those of ``kinds``, if given."""

    __slots__ = ("_buffer", "_kinds", "_limit")

    def __init__(self, limit: int, kinds: frozenset[int] | None = None) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._kinds = kinds

    def feed(self, data: bytes | memoryview) -> Frame | None:
        """Take more bytes; return the frame once it is complete.

        Raises FrameKindError or FrameTooLongError as soon as the head is complete.
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
