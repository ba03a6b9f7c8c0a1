"""Connections through a proxy: dialled like any other, then handed out after the exchange with the proxy."""

import errno
import functools
import os
import socket
from typing import Final

from backhaul.errors import BackhaulError, reason
from backhaul.wire.proxies import Exchange, HttpExchange, Login, ProxyError, SocksExchange, Step

from .closing import release
from .connector import AnyDialer, Dialer, Dialled, numeric_family, scoped_host
from .deadlines import Deadlines
from .poller import WOULD_BLOCK, Poller
from .proxy import Proxy
from .resolver import ANSWERED, Answer, Query, Resolver
from .sending import send_whole
from .sockets import SocketOptions

_CLOSED: Final = "it closed the connection without an answer; is the login right, and the server reachable from there?"
READ_SIZE: Final = 1 << 14  # bytes: a TLS record


class Passage:
    """A connection on its way through the proxy."""

    __slots__ = ("done", "exchange", "query", "sock")

    exchange: Exchange

    def __init__(self, done: Dialled) -> None:
        self.done = done
        self.query: Query = ANSWERED
        self.sock: socket.socket | None = None


class ProxyDialer(AnyDialer):
    """Connects through a proxy.

    The look-up of a name, the connection to the proxy and the exchange with it may take ``timeout`` seconds each. The
    caller owns the resolver.
    """

    def __init__(self, poller: Poller, timeout: float, resolver: Resolver, proxy: Proxy) -> None:
        self._poller = poller
        self._timeout = timeout
        self._resolver = resolver
        self._proxy = proxy
        self._login = Login(proxy.user, proxy.password)
        self._dialer = Dialer(poller, timeout, resolver)
        self._running: Deadlines[Passage] = Deadlines(timeout, self._expired)
        self._found: dict[str, str] = {}  # the address last used of each name that was looked up here

    def dial(self, host: str, port: int, options: SocketOptions, done: Dialled) -> None:
        """Connect, then call ``done`` exactly once, with a socket that it owns, or with an error that names the proxy.

        Of a name that is looked up here the first address is used.
        """
        passage = Passage(done)
        if self._proxy.kind != "socks5" or numeric_family(host):
            self._approach(passage, host, port, options)
            return
        self._running.add(passage)
        resolved = functools.partial(self._resolved, passage, host, port, options)
        passage.query = self._resolver.resolve(host, resolved)

    def close(self) -> None:
        """End every attempt with ECANCELED."""
        self._dialer.close()
        for passage in self._running.clear():
            passage.query.cancel()
            self._fail(passage, OSError(errno.ECANCELED, os.strerror(errno.ECANCELED)))

    def host_of(self, sock: socket.socket, host: str) -> str:
        """Return the name that the proxy looks up, or the address that was found here."""
        del sock
        return self._found.get(host, host)

    def peer_of(self, sock: socket.socket, host: str) -> str:
        """Return the host and the proxy."""
        return f"{self.host_of(sock, host)} via {self._proxy}"

    def _resolved(self, passage: Passage, host: str, port: int, options: SocketOptions, answer: Answer) -> None:
        self._running.discard(passage)
        if isinstance(answer, OSError):
            passage.done(answer)
            return
        _, address = answer[0]
        self._found[host] = scoped_host(address)
        self._approach(passage, self._found[host], port, options)

    def _approach(self, passage: Passage, host: str, port: int, options: SocketOptions) -> None:
        """Connect to the proxy, which will be asked for host and port."""
        kind = HttpExchange if self._proxy.kind.startswith("http") else SocksExchange
        try:
            passage.exchange = kind(host, port, self._login)
        except ProxyError as error:
            self._fail(passage, OSError(errno.EINVAL, str(error)))
            return
        arrived = functools.partial(self._arrived, passage)
        self._dialer.dial(self._proxy.host, self._proxy.port, options, arrived)

    def _arrived(self, passage: Passage, result: socket.socket | OSError) -> None:
        if isinstance(result, OSError):
            self._fail(passage, result)
            return
        self._running.add(passage)
        self._begin(passage, result)

    def _begin(self, passage: Passage, sock: socket.socket) -> None:
        """Begin the exchange on a connection to the proxy."""
        passage.sock = sock
        self._send(passage, sock, passage.exchange.begin())

    def _send(self, passage: Passage, sock: socket.socket, data: bytes) -> None:
        readable = functools.partial(self._readable, passage, sock)
        listen = functools.partial(self._poller.on_readable, sock, readable)
        send_whole(self._poller, sock, data, listen, functools.partial(self._fail, passage))

    def _readable(self, passage: Passage, sock: socket.socket) -> None:
        try:
            data = self._look(sock)
            if not data:
                raise ProxyError(_CLOSED)
            step = passage.exchange.feed(data)
            result = self._take(sock, data, step)
        except WOULD_BLOCK:
            return
        except (OSError, BackhaulError) as error:
            self._fail(passage, error)
            return
        if step.done:
            self._running.discard(passage)
            passage.done(result)
        elif step.send:
            self._poller.ignore_readable(sock)
            self._send(passage, sock, step.send)

    def _look(self, sock: socket.socket) -> bytes:
        """Return bytes of the proxy."""
        return sock.recv(READ_SIZE, socket.MSG_PEEK)

    def _take(self, sock: socket.socket, data: bytes, step: Step) -> socket.socket:
        """Remove the bytes of the answer; return the socket, from which the caller can read the server's bytes."""
        del data
        sock.recv(step.taken)
        if step.done:
            self._poller.forget(sock)
        return sock

    def _expired(self, passage: Passage) -> None:
        passage.query.cancel()
        if passage.sock:
            self._fail(passage, OSError(errno.ETIMEDOUT, f"it did not answer within {self._timeout:g} s"))
        else:
            passage.done(OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def _fail(self, passage: Passage, error: Exception) -> None:
        self._running.discard(passage)
        if passage.sock:
            release(self._poller, passage.sock)
        number = error.errno if isinstance(error, OSError) else errno.EPROTO
        passage.done(OSError(number, f"proxy {self._proxy}: {reason(error)}"))
