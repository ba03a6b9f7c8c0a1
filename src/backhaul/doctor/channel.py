"""Connections to the server: TCP, and TLS inside if the transport has it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from backhaul.config import ClientConfig
from backhaul.net.sockets import SocketOptions
from backhaul.net.tcp_info import TcpInfo
from backhaul.net.tls import client_context

from .circumstances import Waits

Connect = Callable[[SocketOptions], AbstractAsyncContextManager[socket.socket]]
"""Makes a connection to the server, directly or through a proxy. Raises OSError."""


class Pace(NamedTuple):
    """The number of packets for a message, and the pause between them."""

    packets: int = 1
    pause: float = 0.0


AT_ONCE: Final = Pace()


@dataclass(frozen=True, slots=True)
class Channel:
    """An open connection."""

    sock: socket.socket
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    certificate: bytes
    """The server's certificate (DER); empty without TLS."""
    bridged: bool
    """True if the socket ends on this machine, at a bridge to a proxy over TLS."""
    pace: Pace

    async def send(self, message: bytes) -> None:
        """Send a message in as many packets as the pace has. Raises OSError."""
        size = -(-len(message) // self.pace.packets)
        for start in range(0, len(message), size):
            self.writer.write(message[start : start + size])
            await asyncio.sleep(self.pace.pause)

    def tcp(self) -> TcpInfo:
        """Return the kernel's figures of the line."""
        return TcpInfo() if self.bridged else TcpInfo.of(self.sock)


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens connections to the server as the client does."""

    config: ClientConfig
    waits: Waits
    connect: Connect

    @property
    def server_name(self) -> str:
        """The name in TLS."""
        return self.config.tls_server_name or self.config.remote_addr.unscoped.host

    @property
    def _bridged(self) -> bool:
        return bool(self.config.way and self.config.way.kind == "https")

    @asynccontextmanager
    async def open(self, mss: int = 0, *, verify: bool = False, pace: Pace = AT_ONCE) -> AsyncIterator[Channel]:
        """Yield a connection; ``mss`` limits its segments beyond the configuration. Raises OSError."""
        limits = [size for size in (mss, self.config.mss) if size]
        options = options_of(self.config)._replace(mss=min(limits, default=0))
        async with self.connect(options) as sock:
            reader, writer = await self._streams(sock, verify=verify)
            try:
                layer = writer.get_extra_info("ssl_object")
                certificate = layer.getpeercert(binary_form=True) if layer else b""
                with sock.dup() as seen:  # TLS closes its own when the server does, and the figures are read after that
                    yield Channel(seen, reader, writer, certificate, bridged=self._bridged, pace=pace)
            finally:
                writer.transport.abort()  # without the farewells of TLS, for which a broken line would wait
                with suppress(OSError):
                    await writer.wait_closed()

    async def _streams(self, sock: socket.socket, *, verify: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(self.waits.connect):
            if not self.config.facts.tls:
                return await asyncio.open_connection(sock=sock)
            context = client_context(self.config.tls_ca, verify=verify)
            return await asyncio.open_connection(sock=sock, ssl=context, server_hostname=self.server_name)


def options_of(config: ClientConfig) -> SocketOptions:
    """Return the options that choose the way, and the size of packets."""
    return SocketOptions(nodelay=True, mss=config.mss, mark=config.mark, interface=config.bind_interface)
