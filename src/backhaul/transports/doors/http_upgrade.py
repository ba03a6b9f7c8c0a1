"""One connection of the client on its way from TCP to WebSocket."""

import errno
import functools
import os
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from backhaul.errors import TransportError
from backhaul.net.closing import release
from backhaul.net.poller import WOULD_BLOCK, Poller
from backhaul.net.sending import send_whole
from backhaul.net.tls import ClientContext, advise, shake_hands
from backhaul.wire import upgrade

if TYPE_CHECKING:
    from backhaul.net.deadlines import Deadlines

_READ_SIZE: Final = 1 << 14
_CLOSED: Final = "the server closed the connection during the upgrade: are remote_addr and transport right?"


class Upgraded(NamedTuple):
    """A WebSocket connection; the holder owns the socket."""

    sock: socket.socket
    message: bytes
    """The server's message of a handshake; empty if there is none."""
    rest: bytes
    """The bytes after the answer."""


Ask: TypeAlias = Callable[[socket.socket], bytes]
"""Makes the request for a connection, after its TLS handshake if it has one. Raises TransportError to make none."""
Done: TypeAlias = Callable[[Upgraded | Exception], None]


class Upgrade:
    """A connection on its way from TCP to WebSocket; ``done`` is called exactly once."""

    def __init__(
        self,
        poller: Poller,
        running: "Deadlines[Upgrade]",
        ask: Ask,
        reader: upgrade.AnswerReader,
        done: Done,
        *,
        for_users: bool,
    ) -> None:
        self._for_users = for_users
        self._asked = False
        self._poller = poller
        self._running = running
        self._request = ask
        self._reader = reader
        self._done = done
        self._sock: socket.socket | None = None
        self._tls: ClientContext | None = None

    @property
    def expected(self) -> bool:
        """True if the server may know of the connection already, and have a user for it."""
        return self._for_users and self._asked

    def start(self, sock: socket.socket, tls: ClientContext | None) -> None:
        """Take over a new connection and begin."""
        self._sock = sock
        self._tls = tls
        if not tls:
            self._ask(sock)
            return
        try:
            self._sock = wrapped = tls.wrap(sock)
        except OSError as error:
            self._fail(error)
            return
        shake_hands(self._poller, wrapped, self._shaken)

    def cancel(self) -> None:
        """Fail with ECANCELED, as the attempts of a dialer do."""
        self._fail(OSError(errno.ECANCELED, os.strerror(errno.ECANCELED)))

    def expired(self, seconds: float) -> None:
        """Fail, because the server has not answered in time."""
        self._fail(TransportError(f"the server did not answer the upgrade within {seconds:g} s"))

    def _shaken(self, result: socket.socket | Exception) -> None:
        if self not in self._running:
            return
        try:
            if isinstance(result, Exception):
                raise result
            if self._tls and isinstance(result, ssl.SSLSocket):
                self._tls.check(result)
        except (OSError, TransportError) as error:
            self._fail(error)
            return
        self._ask(result)

    def _ask(self, sock: socket.socket) -> None:
        try:
            request = self._request(sock)
        except TransportError as error:
            self._fail(error)
            return
        self._asked = True
        send_whole(self._poller, sock, request, functools.partial(self._listen, sock), self._fail)

    def _listen(self, sock: socket.socket) -> None:
        try:
            self._poller.on_readable(sock, functools.partial(self._readable, sock))
        except OSError as error:  # ENOSPC, ENOMEM: epoll_ctl(2)
            self._fail(error)

    def _readable(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(_READ_SIZE)
            answer = self._reader.feed(data) if data else None
        except WOULD_BLOCK:
            return
        except ssl.SSLError as error:  # with TLS 1.3 a server judges the client after the client's handshake
            self._fail(TransportError(advise(error)))
            return
        except (OSError, TransportError) as error:
            self._fail(error)
            return
        if not data:
            self._fail(TransportError(_CLOSED))
        elif answer:
            self._running.discard(self)
            self._poller.ignore_readable(sock)
            if self._tls and isinstance(sock, ssl.SSLSocket):
                self._tls.remember(sock)
            self._done(Upgraded(sock, answer.message, answer.rest))

    def _fail(self, error: Exception) -> None:
        self._running.discard(self)
        if self._sock:
            release(self._poller, self._sock)
        self._done(error)
