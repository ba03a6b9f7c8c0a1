"""The body of a request, which is read on demand: a visitor without access makes the server read little."""

import asyncio
from http import HTTPStatus
from typing import Final

from backhaul.wire.http1 import Headers, Request

from .http_connection import MAX_DISCARDED, Connection, discard
from .http_messages import BodyError

_READ_SIZE: Final = 4096
_MAX_DIGITS: Final = 18  # of a length
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"  # RFC 9110 section 10.1.1


class Body:
    """The body that follows ``head``; each read may take ``patience`` seconds."""

    def __init__(self, head: Request, connection: Connection, patience: float) -> None:
        self._headers: Headers = head.headers
        self._received = head.rest
        self._connection = connection
        self._patience = patience

    async def read(self, most: int) -> bytes:
        """Return the body. Raises BodyError if it is longer than ``most`` or has no length."""
        length = self._length()
        if length > most:
            raise BodyError(f"the body is longer than {most} bytes", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        async with asyncio.timeout(self._patience):
            if length > len(self._received) and self._headers.get(b"expect", b"").lower() == b"100-continue":
                await self._connection.send(_CONTINUE)
            while len(self._received) < length:
                self._received += await self._more()
        return self._received[:length]

    async def discard(self) -> None:
        """Receive the rest of an unread body, before the connection is closed."""
        try:
            rest = min(self._length(), MAX_DISCARDED) - len(self._received)
        except BodyError:
            rest = MAX_DISCARDED
        await discard(self._connection, self._patience, rest)

    def _length(self) -> int:
        if b"transfer-encoding" in self._headers:
            raise BodyError("send the body with Content-Length", HTTPStatus.LENGTH_REQUIRED)
        length = self._headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > _MAX_DIGITS:
            raise BodyError("Content-Length is not a length", HTTPStatus.BAD_REQUEST)
        return int(length)

    async def _more(self) -> bytes:
        if data := await self._connection.read(_READ_SIZE):
            return data
        raise EOFError
