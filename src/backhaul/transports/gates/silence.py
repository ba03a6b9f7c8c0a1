"""Connections from the address of a v0.7.2 client, which wait for a moment.

That client's own tunnel connections are silent. Others begin with a proof: those of the client that returns after its
old control channel died, and those of another client behind the same address.
"""

import asyncio
import functools
import socket
from collections.abc import Callable

from backhaul.net.closing import release
from backhaul.net.poller import Poller

Decide = Callable[[socket.socket, str], None]
"""Takes over a connection from an address."""


class SilentConnections:
    """Owns connections until they have been silent for long enough, or send something."""

    def __init__(self, poller: Poller, *, spoke: Decide, silent: Decide) -> None:
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._spoke = spoke
        self._silent = silent
        self._waiting: dict[socket.socket, asyncio.TimerHandle] = {}

    def add(self, sock: socket.socket, ip: str, seconds: float) -> None:
        """Take over a connection, and decide about it within ``seconds``. Raises OSError if it can't be watched."""
        self._poller.on_readable(sock, functools.partial(self._end, sock, ip, self._spoke))
        over = functools.partial(self._end, sock, ip, self._silent)
        self._waiting[sock] = self._loop.call_later(seconds, self._poller.run, sock, over)

    def close(self) -> None:
        """Close all connections."""
        while self._waiting:
            sock, timer = self._waiting.popitem()
            timer.cancel()
            release(self._poller, sock)

    def _end(self, sock: socket.socket, ip: str, decide: Decide) -> None:
        self._waiting.pop(sock).cancel()
        self._poller.forget(sock)
        decide(sock, ip)
