"""Services as targets of a tunnel."""

import asyncio
from typing import cast


class Service:
    """A running service and the connections to it."""

    def __init__(self, greeting: bytes) -> None:
        self.greeting = greeting
        self.open: set[asyncio.Transport] = set()
        self.met = 0  # connections so far
        self._server: asyncio.AbstractServer | None = None

    async def start(self, host: str, port: int) -> None:
        """Serve."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Echo(self), host, port, backlog=1024)

    async def start_at(self, path: str) -> None:
        """Serve on a Unix socket."""
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Echo(self), path)

    async def stop(self) -> None:
        """Stop listening, and cut the remaining connections."""
        assert self._server
        self._server.close()
        for transport in self.open:
            transport.abort()
        await self._server.wait_closed()


class _Echo(asyncio.Protocol):
    """Sends back all bytes, reads no faster than its peer, and ends when its peer does."""

    _transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self._service = service

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is no subclass
        self._service.open.add(self._transport)
        self._service.met += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name that asyncio calls it by
        self._service.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._service.greeting + data)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()


async def serve_echo(host: str, port: int, greeting: bytes = b"") -> Service:
    """Start an echo service; ``greeting`` precedes every answer."""
    service = Service(greeting)
    await service.start(host, port)
    return service
