"""A proxy in front of the server that asks for a pause gets one, on every transport over HTTP."""

import asyncio
import contextlib
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator

import pytest
from tests.support.cert import certificate
from tests.support.mux import links_of
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.tunnel import Net


class Proxy:
    """Answers every request with an error, and counts the requests."""

    def __init__(self, answer: str) -> None:
        self.port = free_port()
        self.requests = 0
        self._answer = f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer one request."""
        with contextlib.suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            writer.write(self._answer)
            await writer.drain()
        writer.close()


class Limiter(Proxy):
    """Forwards connections to ``back``, until it refuses further ones."""

    def __init__(self, back: int, answer: str) -> None:
        super().__init__(answer)
        self.refusing = False
        self.back = back
        self._tunnels: list[StreamWriter] = []

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Forward one connection, or answer its request."""
        if self.refusing:
            await super().serve(reader, writer)
            return
        back, server = await asyncio.open_connection(HOST, self.back)
        self._tunnels.append(writer)
        await asyncio.gather(_forward(reader, server), _forward(back, writer))

    def cut_sessions(self) -> None:
        """Cut all connections but the control channel, which came first."""
        for tunnel in self._tunnels[1:]:
            tunnel.transport.abort()
        del self._tunnels[1:]


async def _forward(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def running(proxy: Proxy, *, tls: bool) -> AsyncIterator[Proxy]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
    if context:
        context.load_cert_chain(*certificate())
    async with await asyncio.start_server(proxy.serve, HOST, proxy.port, ssl=context):
        yield proxy


@pytest.mark.parametrize("transport", ["ws", "wss", "wsmux", "wssmux"])
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_a_client_waits_as_long_as_a_proxy_asks(transport: str, status: str) -> None:
    tls = transport.startswith("wss")
    asking, silent = Proxy(f"{status}\r\nRetry-After: 3600"), Proxy(status)
    async with Net(transport) as net, running(asking, tls=tls), running(silent, tls=tls):
        await net.client(asking.port)
        await until(lambda: asking.requests == 1)
        await net.client(silent.port)
        await until(lambda: silent.requests == 4)
        assert asking.requests == 1


async def torn(net: Net, limiter: Limiter, port: int, target: int) -> Peer:
    """Connect a client through ``limiter``, which refuses it from now on; return a user without a connection."""
    await net.server(limiter.back, [f"{HOST}:{port}={target}"], "resume_timeout = 60")
    client = await net.client(limiter.port, "connection_pool = 1\nresume_timeout = 60")
    await until(lambda: len(links_of(client)) == 1)
    user = await net.dial(port)
    await echo(user, b"hello")
    limiter.refusing = True
    limiter.cut_sessions()
    return user


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_a_session_without_a_connection_waits_as_long_as_a_proxy_asks(status: str) -> None:
    asking, silent = Limiter(free_port(), f"{status}\r\nRetry-After: 3600"), Limiter(free_port(), status)
    async with Net("wsmux") as net, running(asking, tls=False), running(silent, tls=False):
        target = await net.echo()
        for limiter in (asking, silent):
            await torn(net, limiter, free_port(), target)
        await until(lambda: silent.requests == 4)
        assert asking.requests == 1


async def test_a_session_waits_no_longer_than_the_longest_pause() -> None:
    limiter = Limiter(free_port(), "429 Too Many Requests\r\nRetry-After: 3600")
    async with Net("wsmux") as net, running(limiter, tls=False):
        net.patience = {"asked": 0.2}
        user = await torn(net, limiter, free_port(), await net.echo())
        await until(lambda: limiter.requests == 1)
        limiter.refusing = False
        await echo(user, b"still here")
