"""Length-prefixed strings without a type: ``u16 length | bytes``, big-endian; the first bytes of every smux stream."""

from struct import Struct

from backhaul.errors import TransportError

_LENGTH = Struct("!H")


class StringTooLongError(TransportError):
    """The peer announced more bytes than this end accepts."""


def encode_string(text: bytes) -> bytes:
    """Return ``text`` (at most 65535 bytes, else struct.error) after its length."""
    return _LENGTH.pack(len(text)) + text


class StringReader:
    """Collects one string, however its bytes are cut."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes | memoryview) -> tuple[bytes, bytes] | None:
        """Take more bytes; return the string once it is complete, and the bytes after it.

        Raises StringTooLongError as soon as the announced length exceeds the limit.
        """
        self._buffer += data
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self._limit:
            raise StringTooLongError(f"string of {length} bytes announced, at most {self._limit} accepted")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        return bytes(self._buffer[_LENGTH.size : end]), bytes(self._buffer[end:])
