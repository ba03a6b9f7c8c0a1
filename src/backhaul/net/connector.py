"""Non-blocking connects, bounded in time and without a task each."""

import asyncio
import errno
import functools
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from backhaul.errors import BackhaulError
from backhaul.wire.targets import parse_ip

from .closing import release
from .congestion import avoid_pacing
from .deadlines import Deadlines
from .descriptors import boundless
from .poller import Poller
from .resolver import ANSWERED, Answer, Query, Resolver
from .sockets import SocketOptions

# Seconds after which the next address of a name is tried as well. RFC 6298 retransmits a SYN after 1 s, so a lost
# packet costs one more attempt.
ADDRESS_TIMEOUT = 1.0
_MOST_ADDRESSES = 64  # of a name: its owner may give it thousands, and each that refuses at once is tried in one go
Dialled = Callable[[socket.socket | OSError], None]
Permit = Callable[[str], bool]
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK})


def anywhere(_: str) -> bool:
    """Permit every address."""
    return True


class ForbiddenAddressError(BackhaulError, OSError):
    """The error for a name without an address that may be dialled."""


class _Attempt:
    __slots__ = ("addresses", "done", "host", "options", "port", "query", "socks")

    def __init__(self, host: str, port: int, options: SocketOptions, done: Dialled) -> None:
        self.host = host
        self.port = port
        self.done = done
        self.options = options
        self.query: Query = ANSWERED
        self.addresses: list[tuple[int, Any]] = []  # still to be tried, the next one last
        self.socks: list[socket.socket] = []  # on their way to an address


class AnyDialer(ABC):
    """Connects to host and port, directly or through a proxy."""

    @abstractmethod
    def dial(self, host: str, port: int, options: SocketOptions, done: Dialled) -> None:
        """Connect, then call ``done`` exactly once, with a socket that it owns, or with the last error."""

    @abstractmethod
    def close(self) -> None:
        """End every attempt with ECANCELED, so that its owner can release the objects that wait for the connection."""

    @abstractmethod
    def host_of(self, sock: socket.socket, host: str) -> str:
        """Return the host by which the server of ``sock``, dialled as ``host``, is reached again."""

    @abstractmethod
    def peer_of(self, sock: socket.socket, host: str) -> str:
        """Return the other end of ``sock``, dialled as ``host``, for an administrator."""

    async def connect(self, host: str, port: int, options: SocketOptions) -> socket.socket:
        """Connect and return the socket; raise OSError if that fails."""
        future: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()

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
                future.result().close()  # connected, but the caller was cancelled
            raise


class Dialer(AnyDialer):
    """Connects to host and port; every attempt ends within ``timeout`` seconds, with its look-up and all addresses.

    The caller owns the resolver.
    """

    def __init__(
        self,
        poller: Poller,
        timeout: float,
        resolver: Resolver,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        *,
        address_timeout: float = ADDRESS_TIMEOUT,
        end: Callable[[], int] = boundless,
    ) -> None:
        """Fail with EMFILE instead of using a descriptor with the number ``end()`` or more."""
        self._kind = kind
        self._end = end
        self._poller = poller
        self._resolver = resolver
        self._loop = asyncio.get_running_loop()
        self._running: Deadlines[_Attempt] = Deadlines(timeout, self._expired)
        self._trying: Deadlines[_Attempt] = Deadlines(address_timeout, self._next_as_well)  # of several addresses

    def __len__(self) -> int:
        """Return the number of attempts that have not ended."""
        return len(self._running)

    def dial(self, host: str, port: int, options: SocketOptions, done: Dialled, permit: Permit = anywhere) -> None:
        """Connect, then call ``done`` exactly once, with a socket that it owns, or with the last error.

        Without a port, ``host`` is the path of a Unix socket, which needs no permission. For a name, only the addresses
        that ``permit`` accepts are dialled.
        """
        attempt = _Attempt(host, port, options, done)
        family = numeric_family(host)
        if family and "%" in host:
            self._dial_scoped(attempt)
        elif family:
            self._connect(attempt, family, (host, port))
        elif port:
            self._running.add(attempt)
            attempt.query = self._resolver.resolve(host, functools.partial(self._resolved, attempt, permit))
        else:
            self._connect_path(attempt)

    def _dial_scoped(self, attempt: _Attempt) -> None:
        try:
            family, address = numeric_address(attempt.host, attempt.port)
        except OSError as error:
            self._go_on(attempt, error)
        else:
            self._connect(attempt, family, address)

    def close(self) -> None:
        """End every attempt with ECANCELED, so that its owner can release the objects that wait for the connection."""
        self._trying.clear()
        for attempt in self._running.clear():
            attempt.query.cancel()
            self._release(attempt)
            attempt.done(OSError(errno.ECANCELED, os.strerror(errno.ECANCELED)))

    def host_of(self, sock: socket.socket, host: str) -> str:
        """Return the address that answered, which is one of several if ``host`` is a name."""
        del host
        return scoped_host(sock.getpeername())

    def peer_of(self, sock: socket.socket, host: str) -> str:
        """Return the address that answered."""
        return self.host_of(sock, host)

    def _resolved(self, attempt: _Attempt, permit: Permit, answer: Answer) -> None:
        if isinstance(answer, OSError):
            self._finish(attempt, answer)
            return
        permitted = [(family, address) for family, address in answer if permit(address[0])][:_MOST_ADDRESSES]
        if not permitted:
            self._finish(attempt, ForbiddenAddressError(errno.EACCES, "none of its addresses is allowed"))
            return
        attempt.addresses = [(family, with_port(address, attempt.port)) for family, address in reversed(permitted)]
        self._connect(attempt, *attempt.addresses.pop())

    def _connect(self, attempt: _Attempt, family: int, address: tuple[Any, ...]) -> None:
        try:
            sock = self._open(attempt, family)
        except OSError as error:
            self._go_on(attempt, error)
            return
        try:
            code = self._begin(attempt, sock, address)
            if code == errno.EALREADY:  # ENOSPC, ENOMEM: epoll_ctl(2)
                self._poller.on_writable(sock, functools.partial(self._writable, attempt, sock))
        except OSError as error:
            self._failed(attempt, sock, error)
            return
        if code == errno.EALREADY:
            self._await(attempt)
        elif not code or code == errno.EISCONN:  # usual within a machine: no time limit is needed
            self._finish(attempt, sock)
        else:
            self._failed(attempt, sock, OSError(code, _text_of(code, family)))

    def _begin(self, attempt: _Attempt, sock: socket.socket, address: tuple[Any, ...]) -> int:
        """Begin to connect; return the kernel's error code. Raises OSError."""
        if self._kind == socket.SOCK_STREAM:
            attempt.options.apply(sock, address[0])
            avoid_pacing(sock, address[0])
        code = sock.connect_ex(address)
        if code in _UNDER_WAY:  # within a machine the handshake is complete by now: asking saves a wake-up
            code = sock.connect_ex(address)
        return code

    def _connect_path(self, attempt: _Attempt) -> None:
        """Connect to a Unix socket, which succeeds or fails at once; TCP options do not apply."""
        if self._kind != socket.SOCK_STREAM:
            self._go_on(attempt, OSError(errno.EPROTONOSUPPORT, "Unix sockets carry no datagrams"))
            return
        try:
            sock = self._open(attempt, socket.AF_UNIX)
        except OSError as error:
            self._go_on(attempt, error)
            return
        if code := sock.connect_ex(attempt.host):
            text = "its connection queue is full" if code == errno.EAGAIN else os.strerror(code)
            self._failed(attempt, sock, OSError(code, text))
        else:
            self._finish(attempt, sock)

    def _open(self, attempt: _Attempt, family: int) -> socket.socket:
        sock = socket.socket(family, self._kind | socket.SOCK_NONBLOCK)
        if sock.fileno() >= self._end():
            sock.close()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        attempt.socks.append(sock)
        return sock

    def _await(self, attempt: _Attempt) -> None:
        if attempt not in self._running:
            self._running.add(attempt)
        if attempt.addresses:
            self._trying.add(attempt)

    def _writable(self, attempt: _Attempt, sock: socket.socket) -> None:
        self._poller.forget(sock)
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._failed(attempt, sock, OSError(code, os.strerror(code)))
        else:
            self._finish(attempt, sock)

    def _next_as_well(self, attempt: _Attempt) -> None:
        """Try the next address, too: on a slow line the present one may still answer."""
        self._connect(attempt, *attempt.addresses.pop())

    def _failed(self, attempt: _Attempt, sock: socket.socket, error: OSError) -> None:
        attempt.socks.remove(sock)
        release(self._poller, sock)
        self._go_on(attempt, error)

    def _go_on(self, attempt: _Attempt, error: OSError) -> None:
        """Try the next address after one has failed, or wait for those under way."""
        self._trying.discard(attempt)
        if attempt.addresses:
            self._connect(attempt, *attempt.addresses.pop())
        elif not attempt.socks:
            self._resolver.doubt(attempt.host)
            self._finish(attempt, error)

    def _expired(self, attempt: _Attempt) -> None:
        attempt.query.cancel()
        attempt.addresses.clear()
        self._release(attempt)
        self._go_on(attempt, OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def _release(self, attempt: _Attempt) -> None:
        """Close the sockets under way."""
        for sock in attempt.socks:
            release(self._poller, sock)
        attempt.socks.clear()

    def _finish(self, attempt: _Attempt, result: socket.socket | OSError) -> None:
        self._running.discard(attempt)
        if attempt.addresses:  # only then the next one may be tried
            self._trying.discard(attempt)
        if isinstance(result, socket.socket):
            attempt.socks.remove(result)
            self._release(attempt)
        attempt.done(result)


@functools.lru_cache(maxsize=1024)
def numeric_family(host: str) -> int:
    """Return the address family of a numeric address, or 0 for a name."""
    address = parse_ip(host)
    if address is None:
        return 0
    return socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004


def _text_of(code: int, family: int) -> str:
    """Return what an error of connect(2) means, with the remedy if the kernel's text names none."""
    if code != errno.EADDRNOTAVAIL:
        return os.strerror(code)
    ports = "no local port is left for another connection to it; widen net.ipv4.ip_local_port_range"
    return f"IPv6 is switched off here, or {ports}" if family == socket.AF_INET6 else ports


def numeric_address(host: str, port: int) -> tuple[int, Any]:
    """Return family and socket address of a numeric address; raise OSError if the interface of its scope is missing.

    A link-local address requires the number of its interface, which only the long form of a socket address holds.
    """
    if "%" not in host:
        return numeric_family(host), (host, port)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        raise OSError(errno.ENODEV, f"no interface {host.partition('%')[2]}") from None
    family, _, _, _, address = found[0]
    return family, address


def scoped_host(address: tuple[Any, ...]) -> str:
    """Return the host of a socket address, including the scope of a long one."""
    host, _, *long = address
    scope = long[1] if long else 0
    return f"{host}%{scope}" if scope and "%" not in host else str(host)


def with_port(address: tuple[Any, ...], port: int) -> tuple[Any, ...]:
    """Return a socket address with another port; the long form of one keeps its scope."""
    return (address[0], port, *address[2:])
