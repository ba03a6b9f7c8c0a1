"""Non-blocking connects: bounded in time, and without a task each."""

import asyncio
import errno
import functools
import ipaddress
import os
import socket
from collections.abc import Callable
from typing import Any

from backhaul.relay.deadlines import Deadlines
from backhaul.relay.poller import Poller, release

from .congestion import suit
from .sockets import SocketOptions

# An address of a name that has others gets so long: one lost packet costs the first try (RFC 6298: 1 s), no more.
ADDRESS_TIMEOUT = 1.0
Dialled = Callable[[socket.socket | OSError], None]
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK})


class _Attempt:
    __slots__ = ("addresses", "done", "error", "options", "sock")

    def __init__(self, done: Dialled, options: SocketOptions) -> None:
        self.done = done
        self.options = options
        self.addresses: list[tuple[int, Any]] = []
        self.error = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        self.sock: socket.socket | None = None


class Dialer:
    """Connects to host and port; every attempt ends within `timeout` seconds, names and all addresses included."""

    def __init__(self, poller: Poller, timeout: float, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
        self._kind = kind
        self._poller = poller
        self._loop = asyncio.get_running_loop()
        self._running: Deadlines[_Attempt] = Deadlines(timeout, self._expired)
        self._trying: Deadlines[_Attempt] = Deadlines(ADDRESS_TIMEOUT, self._too_slow)  # of several addresses
        self._lookups: set[asyncio.Task[None]] = set()

    def dial(self, host: str, port: int, options: SocketOptions, done: Dialled) -> None:
        """Connect, then call `done` exactly once, with a socket that it owns, or with the last error."""
        attempt = _Attempt(done, options)
        self._running.add(attempt)
        if family := numeric_family(host):
            attempt.addresses = [(family, (host, port))]
            self._next(attempt)
        else:
            task = self._loop.create_task(self._look_up(attempt, host, port))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)

    async def connect(self, host: str, port: int, options: SocketOptions) -> socket.socket:
        """Connect; raises OSError."""
        future: asyncio.Future[socket.socket] = self._loop.create_future()

        def done(result: socket.socket | OSError) -> None:
            if future.done():
                if isinstance(result, socket.socket):
                    result.close()
            elif isinstance(result, OSError):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.dial(host, port, options, done)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                future.result().close()  # it was there already, but nobody will take it now
            raise

    def close(self) -> None:
        """End every attempt: each is called back with ECANCELED, as others own what waits for the connection."""
        for task in self._lookups:
            task.cancel()
        self._trying.clear()
        for attempt in self._running.clear():
            if attempt.sock:
                release(self._poller, attempt.sock)
            attempt.done(OSError(errno.ECANCELED, os.strerror(errno.ECANCELED)))

    async def _look_up(self, attempt: _Attempt, host: str, port: int) -> None:
        try:
            found = await self._loop.getaddrinfo(host, port, type=self._kind)
        except (OSError, UnicodeError) as error:  # the latter for names that no resolver would take
            found = []
            attempt.error = error if isinstance(error, OSError) else OSError(errno.EINVAL, "no valid host name")
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)  # IPv4 first, as v0.7.2: it takes no other then
        attempt.addresses = [(family, address) for family, _, _, _, address in reversed(found)]
        if attempt in self._running:
            self._next(attempt)

    def _next(self, attempt: _Attempt) -> None:
        if not attempt.addresses:
            self._finish(attempt, attempt.error)
            return
        family, address = attempt.addresses.pop()
        try:
            attempt.sock = sock = socket.socket(family, self._kind | socket.SOCK_NONBLOCK)
            if self._kind == socket.SOCK_STREAM:
                attempt.options.apply(sock, address[0])
                suit(sock, address[0])
            code = sock.connect_ex(address)
            if code in _UNDER_WAY:  # on this machine the handshake is over by now: asking saves waiting for it
                code = sock.connect_ex(address)
        except OSError as error:
            self._failed(attempt, error)
            return
        if code == errno.EALREADY:
            if attempt.addresses:
                self._trying.add(attempt)
            self._poller.on_writable(sock, functools.partial(self._writable, attempt))
        else:
            self._settled(attempt, 0 if code == errno.EISCONN else code)

    def _writable(self, attempt: _Attempt) -> None:
        assert attempt.sock is not None  # noqa: S101 - a writer is only registered for a socket
        self._poller.forget(attempt.sock)
        self._settled(attempt, attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _settled(self, attempt: _Attempt, code: int) -> None:
        if code or attempt.sock is None:
            self._failed(attempt, OSError(code, os.strerror(code)))
        else:
            self._finish(attempt, attempt.sock)

    def _too_slow(self, attempt: _Attempt) -> None:
        self._failed(attempt, OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def _failed(self, attempt: _Attempt, error: OSError) -> None:
        self._trying.discard(attempt)
        attempt.error = error
        if attempt.sock:
            release(self._poller, attempt.sock)
            attempt.sock = None
        self._next(attempt)

    def _expired(self, attempt: _Attempt) -> None:
        self._trying.discard(attempt)
        if attempt.sock:
            release(self._poller, attempt.sock)
            attempt.sock = None
        attempt.done(OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def _finish(self, attempt: _Attempt, result: socket.socket | OSError) -> None:
        self._running.discard(attempt)
        self._trying.discard(attempt)
        attempt.done(result)


@functools.lru_cache(maxsize=1024)
def numeric_family(host: str) -> int:
    """Return the address family of a numeric address, 0 for a name."""
    try:
        return socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6  # noqa: PLR2004
    except ValueError:
        return 0
