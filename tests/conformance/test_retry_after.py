"""A proxy in front of the server that asks for a pause gets one, on every transport over HTTP."""

import asyncio
import contextlib
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator

import pytest
from tests.support.cert import certificate
from tests.support.net import HOST, free_port, until
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
