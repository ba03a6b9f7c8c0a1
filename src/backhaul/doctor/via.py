"""The check of a proxy between client and server."""

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from backhaul.config import ClientConfig
from backhaul.errors import reason
from backhaul.net.bridge import Bridges
from backhaul.net.pollers import make_poller
from backhaul.net.proxy import Proxy
from backhaul.net.resolver import LookUp, Resolver
from backhaul.net.sockets import SocketOptions
from backhaul.net.ways import make_dialer

from .finding import Finding, fault, ok
from .wording import milliseconds

SUBJECT: Final = "proxy"


class Passage:
    """The way to a server through a proxy."""

    def __init__(self, proxy: Proxy, config: ClientConfig, names: LookUp, wait: float) -> None:
        self._proxy = proxy
        self._server = config.dialled
        self._names = names
        self._wait = wait

    @asynccontextmanager
    async def connected(self, options: SocketOptions) -> AsyncIterator[socket.socket]:
        """Yield a connection to the server, made as the client makes it. Raises OSError."""
        poller, resolver, bridges = make_poller(), Resolver(lookup=self._names), Bridges()
        dialer = make_dialer(poller, self._wait, resolver, self._proxy, bridges)
        try:
            with await dialer.connect(self._server.host, self._server.port, options) as sock:
                yield sock
        finally:
            dialer.close()
            bridges.close()
            resolver.close()
            poller.close()

    async def examine(self, options: SocketOptions) -> tuple[bool, Finding]:
        """Return whether the proxy connects to the server, and the finding."""
        begun = time.perf_counter()
        try:
            async with self.connected(options):
                seconds = time.perf_counter() - begun
        except OSError as error:
            remedy = "correct the key proxy and its login, or the server's address; many proxies allow port 443 only"
            return False, fault(SUBJECT, reason(error), remedy)
        return True, ok(SUBJECT, f"{self._proxy} connects to {self._server} in {milliseconds(seconds)}")
