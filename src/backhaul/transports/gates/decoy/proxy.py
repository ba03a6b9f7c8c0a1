"""Another website, shown as by nginx with ``proxy_pass``: with a connection to the website for each request."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import h11

from backhaul.errors import BackhaulError
from backhaul.net.connector import Dialer
from backhaul.net.poller import Poller
from backhaul.net.resolver import Resolver, look_up
from backhaul.net.sockets import SocketOptions

from .body import ChunkedBody
from .exchange import Exchange
from .head import BadRequestError
from .nginx import page
from .scrub import Scrubber

_READ_SIZE: Final = 1 << 16
_MAX_HEAD: Final = 1 << 16  # bytes of the website's header lines
_MAX_BODY: Final = 1 << 20  # client_max_body_size, for bodies whose length is not known before
_PORTS: Final = {"http": 80, "https": 443}
_HTTP_11: Final = 11
# RFC 9110 section 7.6.1, and the headers that this side of the proxy writes itself.
_OWN_REQUEST: Final = frozenset(
    b"connection proxy-connection keep-alive te trailer transfer-encoding upgrade proxy-authorization content-length "
    b"expect host x-forwarded-for x-forwarded-proto x-forwarded-host x-real-ip forwarded".split()
)
_OWN_ANSWER: Final = frozenset(
    b"connection proxy-connection keep-alive te trailer transfer-encoding upgrade proxy-authenticate".split()
)

Headers = list[tuple[bytes, bytes]]


class Website:
    """A website that receives the requests of visitors."""

    def __init__(self, url: str, scrubber: Scrubber, poller: Poller, timeout: float) -> None:
        """``timeout`` is for a connection, including the look-up of its name and all addresses."""
        self._resolver = Resolver(lookup=look_up)
        self._dialer = Dialer(poller, timeout, self._resolver)
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._authority = parts.netloc.rpartition("@")[2].encode()
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = parts.path.rstrip("/").encode()
        self._base = f"{parts.scheme}://".encode() + self._authority + self._path
        self._scrubber = scrubber

    async def serve(self, exchange: Exchange) -> bool:
        """Pass the request on and return its answer; a website that fails gets a 502 or 504."""
        try:
            request = self._request(exchange)
        except h11.ProtocolError:
            raise BadRequestError(400) from None
        try:
            async with asyncio.timeout(exchange.limits.upstream_timeout):
                reader, writer = await self._connect()
        except TimeoutError:
            return await exchange.reply(page(504, exchange.head))
        except OSError:
            return await exchange.reply(page(502, exchange.head))
        try:
            return await _Passage(exchange, reader, writer, self._relocate).run(request)
        finally:
            writer.transport.abort()

    def close(self) -> None:
        """Stop connecting to the website."""
        self._dialer.close()
        self._resolver.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the website; raises OSError, of which ssl.SSLError is one."""
        sock = await self._dialer.connect(self._host, self._port, SocketOptions())
        name = self._host if self._tls else None
        return await asyncio.open_connection(sock=sock, ssl=self._tls, server_hostname=name, limit=_READ_SIZE)

    def _request(self, exchange: Exchange) -> h11.Request:
        """Return the request to the website. Raises h11.ProtocolError for one that h11 does not understand."""
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        parser.receive_data(bytes(exchange.raw))
        asked = parser.next_event()
        if not isinstance(asked, h11.Request):
            raise h11.RemoteProtocolError("no request")
        kept = self._scrubber.scrub(_end_to_end(asked.headers.raw_items(), _OWN_REQUEST))
        forwarded = [
            (b"X-Forwarded-For", exchange.ip.encode()),
            (b"X-Forwarded-Proto", exchange.scheme.encode()),
            (b"X-Forwarded-Host", exchange.head.host.encode("latin-1")),
        ]
        headers = [(b"Host", self._authority), *kept, *forwarded, *_framing(exchange), (b"Connection", b"close")]
        return h11.Request(method=asked.method, target=self._path + _target(exchange), headers=headers)

    def _relocate(self, headers: Headers) -> Headers:
        """Rewrite redirections within the website, so that the visitor stays on this server."""
        return [(name, self._here(value) if name.lower() == b"location" else value) for name, value in headers]

    def _here(self, location: bytes) -> bytes:
        for base in (self._base, self._path):
            if location.startswith(base + b"/"):
                return location[len(base) :]
        return location


class _Passage:
    """A request on its way to the website, and its answer on the way back."""

    def __init__(
        self,
        exchange: Exchange,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        relocate: Callable[[Headers], Headers],
    ) -> None:
        self._exchange = exchange
        self._reader = reader
        self._writer = writer
        self._relocate = relocate
        self._site = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._chunked = False
        self._begun = False

    async def run(self, request: h11.Request) -> bool:
        """Pass everything on; return whether the visitor's connection stays open."""
        upload, download = asyncio.create_task(self._upload(request)), asyncio.create_task(self._download())
        try:
            await asyncio.wait({upload, download}, return_when=asyncio.FIRST_COMPLETED)
            if upload.done() and not download.done():
                self._check(upload)
            keep = await download
            return keep and upload.done() and upload.exception() is None
        except h11.ProtocolError:
            return await self._fail(502)
        except _SiteError as error:
            return await self._fail(error.status)
        finally:
            upload.cancel()
            download.cancel()
            await asyncio.gather(upload, download, return_exceptions=True)

    def _check(self, upload: "asyncio.Task[None]") -> None:
        """Raise an error of the visitor. An error of the website does not count yet: it may answer early, and close."""
        error = upload.exception()
        if isinstance(error, BadRequestError) and self._begun:
            raise ConnectionAbortedError("the visitor's request is invalid") from error
        if error and not isinstance(error, _SiteError):
            raise error

    async def _fail(self, status: int) -> bool:
        if self._begun:
            raise ConnectionAbortedError("the website broke off its answer")
        answer = page(status, self._exchange.head)
        answer.closing = True
        return await self._exchange.send(answer)

    async def _upload(self, request: h11.Request) -> None:
        exchange, body = self._exchange, self._exchange.body
        await self._tell(self._site.send(request))
        if not body.done and exchange.expects_more:
            await exchange.go_on()
        total = 0
        while True:
            if data := body.take(exchange.stream.buffer):
                total += len(data)
                if total > _MAX_BODY:
                    raise BadRequestError(413)
                await self._tell(self._site.send(h11.Data(data)))
            if body.done:
                break
            async with asyncio.timeout(exchange.limits.head_timeout):
                if not await exchange.stream.fill():
                    raise ConnectionResetError("the visitor left in the middle of its request")
        await self._tell(self._site.send(h11.EndOfMessage()))

    async def _tell(self, data: bytes | None) -> None:
        try:
            self._writer.write(data or b"")
            await self._writer.drain()
        except OSError as error:
            raise _SiteError(502) from error

    async def _download(self) -> bool:
        keep = False
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                keep = await self._begin(event)
            elif isinstance(event, h11.Data):
                await self._pass_on(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                await self._exchange.stream.send(b"0\r\n\r\n" if self._chunked else b"")
                return keep

    async def _next_event(self) -> object:
        while (event := self._site.next_event()) is h11.NEED_DATA:
            try:
                async with asyncio.timeout(self._exchange.limits.upstream_timeout):
                    data = await self._reader.read(_READ_SIZE)
            except OSError as error:
                raise _SiteError(504 if isinstance(error, TimeoutError) else 502) from error
            self._site.receive_data(data)
        if isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            raise _SiteError(502)
        return event

    async def _begin(self, answer: h11.Response) -> bool:
        """Pass the head on; return whether the visitor's connection stays open after the answer."""
        exchange = self._exchange
        headers = self._relocate(_end_to_end(answer.headers.raw_items(), _OWN_ANSWER))
        sized = any(name.lower() == b"content-length" for name, _ in headers)
        empty = exchange.head.method == "HEAD" or answer.status_code in {204, 304}
        self._chunked = not sized and not empty and exchange.head.version >= _HTTP_11
        keep = exchange.wants_more and (sized or empty or self._chunked)
        if self._chunked:
            headers.append((b"Transfer-Encoding", b"chunked"))
        headers.append((b"Connection", b"keep-alive" if keep else b"close"))
        lines = [b"HTTP/1.1 %d %s" % (answer.status_code, bytes(answer.reason))]
        lines += [name + b": " + value for name, value in headers]
        self._begun = True
        await exchange.stream.send(b"\r\n".join([*lines, b"", b""]))
        return keep

    async def _pass_on(self, data: bytes) -> None:
        await self._exchange.stream.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)


class _SiteError(BackhaulError):
    """The website has closed the connection, or does not answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _end_to_end(headers: Headers, own: frozenset[bytes]) -> Headers:
    """Return the end-to-end headers."""
    named = {
        name.strip().lower()
        for key, value in headers
        if key.lower() == b"connection"
        for name in value.split(b",")
    }  # fmt: skip
    return [(key, value) for key, value in headers if key.lower() not in own and key.lower() not in named]


def _framing(exchange: Exchange) -> Headers:
    if isinstance(exchange.body, ChunkedBody):
        return [(b"Transfer-Encoding", b"chunked")]
    length = exchange.head.header(b"content-length")
    return [] if length is None else [(b"Content-Length", length)]


def _target(exchange: Exchange) -> bytes:
    """Return path and query, even of a request in absolute form."""
    target = exchange.head.target.partition("#")[0]
    return (target if target.startswith("/") else f"/{target}").encode("latin-1")
