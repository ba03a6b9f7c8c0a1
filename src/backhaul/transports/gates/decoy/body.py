"""Bodies of requests, which are read and discarded, or passed on."""

import re
from typing import Final, Protocol

from .head import BadRequestError, Head

_MAX_SIZE: Final = 1 << 20  # client_max_body_size
_MAX_LINE: Final = 8192  # bytes of the line before a chunk
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_CHUNK_BEGINNING: Final = re.compile(rb"[0-9A-Fa-f]{0,15}(?:[ \t]*(?:;[^\n]*|\r)?)?\Z")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")


class Body(Protocol):
    """The bytes of a request after its head."""

    @property
    def done(self) -> bool:
        """True once all of it has been taken."""

    def take(self, buffer: bytearray) -> bytes:
        """Remove the bytes of the body from ``buffer``, and return its content. Raises BadRequestError."""


class SizedBody:
    """A body whose length is known."""

    def __init__(self, size: int) -> None:
        self._missing = size

    @property
    def done(self) -> bool:
        """True once all of it has been taken."""
        return not self._missing

    def take(self, buffer: bytearray) -> bytes:
        """Remove the bytes of the body from ``buffer``, and return its content."""
        data = bytes(buffer[: self._missing])
        del buffer[: len(data)]
        self._missing -= len(data)
        return data


class ChunkedBody:
    """A body in chunks (RFC 9112 section 7.1)."""

    def __init__(self) -> None:
        self._missing = 0  # of the current chunk
        self._between = b""  # the line end that must precede the next size
        self._trailers = False
        self.done = False

    def take(self, buffer: bytearray) -> bytes:
        """Remove the bytes of the body from ``buffer``, and return its content."""
        data = bytearray()
        while buffer and not self.done:
            if self._missing:
                piece = buffer[: self._missing]
                data += piece
                del buffer[: len(piece)]
                self._missing -= len(piece)
            elif not (self._skip_trailer(buffer) if self._trailers else self._next_chunk(buffer)):
                break
        return bytes(data)

    def _next_chunk(self, buffer: bytearray) -> bool:
        """Take the line before a chunk; return False while it is incomplete."""
        begin = 0
        if self._between:
            if not (b"\r\n".startswith(buffer[:2]) or buffer[:1] == b"\n"):
                raise BadRequestError(400)
            begin = buffer.find(b"\n", 0, 2) + 1
            if not begin:
                return False
        match = _CHUNK.match(buffer, begin)
        if match is None:
            if len(buffer) - begin > _MAX_LINE or not _CHUNK_BEGINNING.match(buffer, begin):
                raise BadRequestError(400)
            return False
        self._missing = int(match[1], 16)  # read before the buffer, to which the match refers, changes
        del buffer[: match.end()]
        self._trailers = not self._missing
        self._between = b"\r\n"
        return True

    def _skip_trailer(self, buffer: bytearray) -> bool:
        end = buffer.find(b"\n") + 1
        if not end:
            if len(buffer) > _MAX_LINE:
                raise BadRequestError(400)
            return False
        self.done = not buffer[:end].rstrip(b"\r\n")
        del buffer[:end]
        return True


def body_of(head: Head) -> Body:
    """Return the body that a complete head announces. Raises BadRequestError."""
    length, encoding = head.header(b"content-length"), head.header(b"transfer-encoding")
    if length is not None and not _DIGITS.fullmatch(length):
        raise BadRequestError(400)
    if encoding is None:
        return SizedBody(int(length or 0))
    if head.version < 11:  # noqa: PLR2004 - HTTP/1.1
        raise BadRequestError(400)
    if encoding.lower() != b"chunked":
        raise BadRequestError(501)
    return ChunkedBody()


def refusal(head: Head) -> int:
    """Return the status that refuses a body before it arrives; 0 if it is not refused."""
    if b"content-length" in head.headers and b"transfer-encoding" in head.headers:
        return 400
    return 413 if int(head.header(b"content-length") or 0) > _MAX_SIZE else 0
