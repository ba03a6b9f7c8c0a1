"""One visitor's connection, from the first request to the last answer."""

import asyncio
import contextlib
from typing import Final, Protocol

from backhaul.transports.settings import GateLimits

from .body import body_of, refusal
from .exchange import Exchange
from .head import BadRequestError, Head, HeadReader
from .nginx import PLAIN_ON_TLS, Answer, encode_head, page
from .site import Site
from .stream import Stream

_MAX_REQUESTS: Final = 1000  # keepalive_requests
_HTTP_11: Final = 11


class Host(Protocol):
    """The owner of a visit."""

    def claims(self, data: bytes) -> bool:
        """Take over the connection if a request, with all bytes after it, is a client's; return whether it is."""

    def resting(self) -> None:
        """Note that the visitor has all its answers, and may send another request."""

    def working(self) -> None:
        """Note that the visitor has sent a request."""


class Visit:
    """Answers the requests of a connection in turn, as nginx does."""

    def __init__(self, stream: Stream, site: Site, limits: GateLimits, *, plain_on_tls: bool) -> None:
        """With ``plain_on_tls`` the visitor sends plain HTTP where TLS is expected."""
        self._stream = stream
        self._site = site
        self._limits = limits
        self._plain_on_tls = plain_on_tls

    async def run(self, host: Host) -> bool:
        """Serve the visitor; return False if ``host`` has claimed the connection.

        Raises OSError when the connection is gone, or TimeoutError, which is one.
        """
        patience = self._limits.head_timeout
        for count in range(1, _MAX_REQUESTS + 1):
            reader = HeadReader()
            try:
                if not await self._read_head(reader, patience):
                    return True
                host.working()
                if not self._plain_on_tls and host.claims(bytes(reader.raw + self._stream.buffer)):
                    return False
                keep = await self._answer(reader, last=count == _MAX_REQUESTS)
            except BadRequestError as error:
                answer = page(error.status, reader.head)
                await self._stream.send(encode_head(answer, reader.head, keep=False) + _content(answer, reader.head))
                keep = False
            if not keep:
                break
            host.resting()
            patience = self._limits.keepalive_timeout
        await self._leave()
        return True

    async def _read_head(self, reader: HeadReader, patience: float) -> bool:
        while not reader.read(self._stream.buffer):
            if reader.begun:
                patience = self._limits.head_timeout
            async with asyncio.timeout(patience):
                if not await self._stream.fill():
                    return False
        return True

    async def _answer(self, reader: HeadReader, *, last: bool) -> bool:
        """Answer, and return whether the connection stays open."""
        head = reader.head
        if head.version >= _HTTP_11 and b"host" not in head.headers:
            raise BadRequestError(400)
        body = body_of(head)
        if self._plain_on_tls:
            raise BadRequestError(PLAIN_ON_TLS)
        if head.method in {"CONNECT", "TRACE"}:
            raise BadRequestError(405)
        exchange = Exchange(self._stream, head, reader.raw, body, self._limits, last=last)
        if status := refusal(head):
            return await exchange.reply(page(status, head))
        return await self._site.serve(exchange)

    async def _leave(self) -> None:
        """End the connection in a way that lets the visitor receive all of the answer."""
        self._stream.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.lingering_timeout):
                await self._stream.drain()


def _content(answer: Answer, head: Head) -> bytes:
    return b"" if head.method == "HEAD" else b"".join(part for part in answer.body if isinstance(part, bytes))
