"""The acceptor of connections, which survives a lack of descriptors."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from .closing import release
from .congestion import avoid_pacing, local
from .descriptors import boundless
from .poller import FAULT, Poller
from .sockets import BACKLOG, OUT_OF_RESOURCES, TRANSIENT_ACCEPT, SocketOptions

log = logging.getLogger("backhaul.accept")

Accepted = Callable[[socket.socket, Any], None]
BATCH = 64  # connections per wake-up: enough to empty a burst, few enough to let relays run
PROOF_BATCH = 8  # connections per wake-up if each may be a wrong proof: 64 of them would delay relays by 10 ms
HANDSHAKE_BATCH = 4  # connections per wake-up if each costs a TLS handshake: a flood must not starve relays
_PAUSE = 0.1  # seconds without accepting while not even the spare descriptor is available


class Acceptor:
    """Passes every connection of a listening socket to ``accepted(sock, address)``; owns the listener.

    The accepted socket is non-blocking, and the callback owns it.
    """

    def __init__(
        self,
        poller: Poller,
        listener: socket.socket,
        accepted: Accepted,
        refused: Callable[[OSError], None],
        *,
        batch: int = BATCH,
        end: Callable[[], int] = boundless,
    ) -> None:
        """Start accepting, up to ``batch`` connections in one turn of the event loop.

        Connections whose descriptor would have the number ``end()`` or more are closed.
        """
        self._end = end
        self._batch = batch
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._listener = listener
        self._accepted = accepted
        self._refused = refused
        self._anywhere = not local(listener.getsockname()[0])  # otherwise connections inherit the right algorithm
        self._timer: asyncio.TimerHandle | None = None
        self._refusing = False
        try:
            self._resume()
        except OSError:  # ENOSPC, ENOMEM: epoll_ctl(2); an open listener would keep the port from being opened again
            self._listener.close()
            raise

    def set_options(self, options: SocketOptions) -> None:
        """Set these options for future connections, which inherit them."""
        options.renew(self._listener)

    def refuse(self) -> None:
        """Let the kernel refuse connections until ``admit``, and keep the port; raise OSError if that is impossible.

        A second call has no effect, because a socket cannot be shut down twice.

        Linux stops listening on a socket that is shut down for reading, but keeps its address. SO_REUSEADDR is cleared,
        because with it another socket with SO_REUSEADDR could take the address.
        """
        if self._refusing:
            return
        self._refusing = True
        self._stop_timer()
        self._poller.forget(self._listener)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        self._listener.shutdown(socket.SHUT_RD)

    def admit(self) -> None:
        """Accept connections again after ``refuse``; raise OSError if that fails."""
        if not self._refusing:
            return
        self._refusing = False
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.listen(BACKLOG)
        self._resume()

    def finish(self) -> None:
        """Accept all connections in the queue, then stop listening."""
        while self._accept_batch():
            pass
        self.close()

    def close(self) -> None:
        """Stop listening; accepted connections stay open."""
        self._stop_timer()
        if self._listener.fileno() >= 0:
            self._poller.forget(self._listener)  # epoll would keep reporting a copy held by the service manager
            self._listener.close()

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def abort(self) -> None:
        """Resume after a pause: neither a faulty connection nor a lack of memory may end the port."""
        self._poller.ignore_readable(self._listener)
        self._resume_later()

    def _resume_later(self) -> None:
        self._timer = self._loop.call_later(_PAUSE, self._try_to_resume)

    def _try_to_resume(self) -> None:
        try:
            self._resume()
        except OSError:  # ENOSPC, ENOMEM: epoll_ctl(2)
            self._resume_later()

    def _resume(self) -> None:
        self._timer = None
        self._poller.own(self._listener, self._readable, self)

    def _readable(self) -> None:
        self._accept_batch()

    def _accept_batch(self) -> bool:
        """Accept a batch; return whether there may be more."""
        for before in range(self._batch):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno in TRANSIENT_ACCEPT:
                    continue
                self._exhausted(error)
                return False
            if sock.fileno() >= self._end():
                sock.close()
                self._refused(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
                continue
            sock.setblocking(False)
            if self._anywhere:
                avoid_pacing(sock, address[0])
            if before:
                self._poller.together.begin()
            self._hand_over(sock, address)
            if self._listener.fileno() < 0:
                return False
        return True

    def _hand_over(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        """Pass a connection to the callback; an error costs that connection only."""
        try:
            self._accepted(sock, address)
        except Exception as error:  # noqa: BLE001 - logged as an internal error
            release(self._poller, sock, reset=True)
            self._poller.faults.fault(FAULT, error)

    def _exhausted(self, error: OSError) -> None:
        """Close one connection with the spare descriptor, instead of spinning on a listener that stays readable."""
        self._refused(error)
        if error.errno in OUT_OF_RESOURCES and not self._poller.spare.turn_away(self._listener):
            self.abort()
