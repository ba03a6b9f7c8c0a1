"""TLS handshakes of a gate, scheduled so that users' bytes come first."""

import asyncio
import functools
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final, Generic

from backhaul.errors import BackhaulError
from backhaul.net.deadlines import Deadlines
from backhaul.net.poller import Callback, Poller
from backhaul.net.tls import PROTOCOLS, ServerContext

from .crowd import FairQueue
from .hello import NO_APPLICATION_PROTOCOL, looks_like_tls, offered_protocols
from .lobby import Pending

_PER_TURN: Final = 8  # steps for trusted networks in one turn of the event loop; they delay the relays by 4 ms
_LEFT: Final = getattr(select, "POLLRDHUP", 0)  # poll(2) reports hang-ups and errors in any case
_PEEK_SIZE: Final = 1 << 14
_BURST: Final = 0.05  # seconds of work that idle time may save up


class OnlyHttp2Error(BackhaulError, ConnectionAbortedError):
    """The peer offers HTTP/2, and no version that can be upgraded."""


class Handshakes(Generic[Pending]):
    """Does the next step of a handshake when its turn has come and the connection has bytes to read.

    A step costs this end a thousand times more than the bytes that cause it cost the peer. So each turn of the event
    loop does at most one step for an untrusted network, networks take turns, and all of them together may take
    ``share`` of the time. Begun handshakes take turns with new ones, so a flood of hellos delays none of them. Steps
    for trusted networks are done at once, up to a number in one turn, and then in the next turns. A connection that has
    waited for ``patience`` seconds fails, because its peer gives up as well.
    """

    def __init__(
        self,
        poller: Poller,
        context: ServerContext,
        done: Callable[[Pending], None],
        plain: Callable[[Pending], None],
        failed: Callable[[Pending, OSError], None],
        *,
        share: float,
        patience: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``done`` gets a connection with TLS as its ``sock``, ``failed`` one that must be closed.

        ``plain`` gets one that does not begin with TLS; none of its bytes have been read.
        """
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._context = context
        self._done = done
        self._plain = plain
        self._failed = failed
        self._share = share
        self._clock = clock
        self._trusted: FairQueue[Pending] = FairQueue()
        self._new: FairQueue[Pending] = FairQueue()
        self._begun: FairQueue[Pending] = FairQueue()
        self._untrusted = [self._new, self._begun]  # the second one has its turn next
        self._queued: Deadlines[Pending] = Deadlines(patience, self._expired)
        self._soon: asyncio.Handle | None = None
        self._done_at_once = 0  # steps in this turn
        self._later: asyncio.TimerHandle | None = None
        self._affordable_at = 0.0  # time of `clock` at which the next step for an untrusted network may begin

    def begin(self, pending: Pending) -> None:
        """Begin the handshake of a connection in the lobby."""
        self._await(pending, self._poller.on_readable)

    def _await(self, pending: Pending, watch: Callable[[socket.socket, Callback], None]) -> None:
        try:
            watch(pending.sock, functools.partial(self._ready, pending))
        except OSError as error:  # ENOSPC, ENOMEM: epoll_ctl(2)
            self._failed(pending, error)

    def discard(self, pending: Pending) -> None:
        """Forget a connection that has left the lobby; harmless if it is not queued."""
        self._queue(pending).discard(pending.network, pending)
        self._queued.discard(pending)

    def close(self) -> None:
        """Forget all connections, which have left the lobby."""
        for queue in (self._trusted, self._new, self._begun):
            queue.clear()
        self._queued.clear()
        if self._soon:
            self._soon.cancel()
            self._soon = None
        if self._later:
            self._later.cancel()
            self._later = None

    def _queue(self, pending: Pending) -> FairQueue[Pending]:
        if pending.trusted:
            return self._trusted
        return self._begun if isinstance(pending.sock, ssl.SSLSocket) else self._new

    def _take(self, queue: FairQueue[Pending]) -> Pending:
        pending = queue.pop()
        self._queued.discard(pending)
        return pending

    def _take_untrusted(self) -> Pending:
        self._untrusted.reverse()
        return self._take(next(filter(None, self._untrusted)))

    def _expired(self, pending: Pending) -> None:
        self._queue(pending).discard(pending.network, pending)
        self._failed(pending, TimeoutError("it waited too long for its turn"))

    def _ready(self, pending: Pending) -> None:
        if pending.trusted and not self._trusted and self._done_at_once < _PER_TURN:
            self._do_at_once(pending)
        else:
            self._line_up(pending)

    def _do_at_once(self, pending: Pending) -> None:
        if not self._done_at_once:
            self._loop.call_soon(self._end_turn)
        self._done_at_once += 1
        self._poller.ignore_writable(pending.sock)
        self._step(pending)

    def _end_turn(self) -> None:
        self._done_at_once = 0

    def _line_up(self, pending: Pending) -> None:
        self._poller.ignore_readable(pending.sock)
        self._poller.ignore_writable(pending.sock)
        self._queue(pending).add(pending.network, pending)
        self._queued.add(pending)
        self._schedule()

    def _schedule(self) -> None:
        if self._trusted and not self._soon:
            self._soon = self._loop.call_soon(self._serve_trusted)
        if any(self._untrusted) and not self._later:
            delay = max(0.0, self._affordable_at - self._clock())
            self._later = self._loop.call_later(delay, self._serve_untrusted)

    def _serve_trusted(self) -> None:
        self._soon = None
        try:
            for _ in range(_PER_TURN):
                if self._trusted:
                    self._step_in_turn(self._take(self._trusted))
        finally:
            self._schedule()

    def _serve_untrusted(self) -> None:
        self._later = None
        began = self._clock()
        try:
            if any(self._untrusted) and began >= self._affordable_at:
                self._step_in_turn(self._take_untrusted())
        finally:
            spent = self._clock() - began
            self._affordable_at = max(self._affordable_at, began - _BURST) + spent / self._share
            self._schedule()

    def _step_in_turn(self, pending: Pending) -> None:
        if not isinstance(pending.sock, ssl.SSLSocket) and _has_left(pending.sock):
            self._failed(pending, ConnectionResetError("closed before its turn"))
        else:
            self._step(pending)

    def _step(self, pending: Pending) -> None:
        try:
            if not isinstance(pending.sock, ssl.SSLSocket) and not self._begins(pending):
                return
            self._wrapped(pending).do_handshake()
        except (BlockingIOError, ssl.SSLWantReadError):
            self.begin(pending)
        except ssl.SSLWantWriteError:
            self._await(pending, self._poller.on_writable)
        except OSError as error:
            self._failed(pending, error)
        else:
            self._done(pending)

    def _begins(self, pending: Pending) -> bool:
        """Return whether this is TLS for OpenSSL. Raises OSError."""
        data = pending.sock.recv(_PEEK_SIZE, socket.MSG_PEEK)
        if not data:
            raise ConnectionResetError("closed before its turn")
        if not looks_like_tls(data):
            self._plain(pending)
            return False
        offered = offered_protocols(data)
        if offered and not any(name.decode("latin-1") in PROTOCOLS for name in offered):
            pending.sock.send(NO_APPLICATION_PROTOCOL)  # the ssl module would go on without a protocol
            raise (OnlyHttp2Error if b"h2" in offered else ConnectionAbortedError)("no common application protocol")
        return True

    def _wrapped(self, pending: Pending) -> ssl.SSLSocket:
        if not isinstance(pending.sock, ssl.SSLSocket):
            self._poller.forget(pending.sock)  # wrapping closes the descriptor if it fails
            pending.sock = self._context.wrap(pending.sock)
        return pending.sock


def _has_left(sock: socket.socket) -> bool:
    """Return whether the peer has closed the connection, so that it can't finish a handshake."""
    look = select.poll()
    look.register(sock, _LEFT)
    return bool(look.poll(0))
