"""Which sockets are ready: one epoll of our own, watched by the event loop as a single descriptor.

The event loop's own readers cost two to four epoll_ctl calls and several objects for each change of interest;
here a socket is registered once and, unless it stalls, never touched again. Level-triggered, so a callback may
take as little as it likes: what is left is reported again.
"""

import asyncio
import contextlib
import functools
import logging
import select
import socket
import ssl
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from .buffers import shared_buffer
from .log_throttle import LogThrottle

log = logging.getLogger("backhaul")

FAULT = "internal error in a connection handler; connection closed"

Callback = Callable[[], None]

# What a non-blocking socket raises instead of waiting; those of TLS are no BlockingIOError.
WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

END_FOLLOWS = getattr(socket, "MSG_MORE", 0)
"""A flag of send: the last bytes, and the end that the caller tells the peer of next, share a packet."""

_READ = getattr(select, "EPOLLIN", 0) | getattr(select, "EPOLLRDHUP", 0)
_NOT_READ, _NOT_WRITE = ~_READ, ~getattr(select, "EPOLLOUT", 0)  # errors and hang-ups concern both
_ENDS = getattr(select, "EPOLLRDHUP", 0) | select.POLLHUP | select.POLLERR  # one or both directions, or by a reset
_BATCH = 128  # events per turn of the event loop, so that timers are not starved
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST (socket(7))
_DRAIN = shared_buffer(1 << 16)  # what is discarded before an orderly close


class Poller(Protocol):
    """Calls back when a socket can be read or written. A callback may come although nothing is there."""

    ending: bool
    """Within a callback: whether the peer has finished in order, as far as the system tells: its end may be near."""

    faults: LogThrottle
    """Gets the exceptions that nobody expected, of callbacks and of others who deal with connections."""

    def guard(self, sock: socket.socket, broken: Callback) -> None:
        """Call `broken` when a callback of `sock` raises: its owner ends as a whole. Until then, `sock` is reset.

        A later owner replaces the guard; it is forgotten with the socket.
        """

    def own(self, sock: socket.socket, readable: Callback, broken: Callback) -> None:
        """Do what `guard` and `on_readable` do, in one step: `sock` has a new owner."""

    def on_readable(self, sock: socket.socket, callback: Callback) -> None:
        """From now on call `callback` whenever `sock` has bytes, has ended or is broken."""

    def on_writable(self, sock: socket.socket, callback: Callback) -> None:
        """From now on call `callback` whenever `sock` takes bytes or is broken."""

    def run(self, sock: socket.socket, callback: Callback) -> None:
        """Call `callback` now as one of the socket's own, unless that is closed: for timers and what had to wait."""

    def ignore_readable(self, sock: socket.socket) -> None:
        """Stop the calls that `on_readable` asked for."""

    def ignore_writable(self, sock: socket.socket) -> None:
        """Stop the calls that `on_writable` asked for."""

    def on_reset(self, sock: socket.socket, callback: Callback) -> None:
        """Stop the calls that `on_readable` asked for, `sock` having ended; call `callback` if it is reset later.

        A poller that can't tell does not: the next bytes sent find out.
        """

    def forget(self, sock: socket.socket) -> None:
        """Stop all calls; the socket goes on, in other hands."""

    def drop(self, sock: socket.socket) -> None:
        """Stop all calls; the caller closes the socket next, without doing anything else in between."""

    def close(self) -> None:
        """Release what the poller itself holds."""


def make_poller() -> Poller:
    """Return the fastest poller that this system has, for the running event loop."""
    return EpollPoller() if hasattr(select, "epoll") else LoopPoller()


class Dropping(Protocol):
    """The part of a poller that closing a socket needs."""

    def drop(self, sock: socket.socket) -> None:
        """See Poller."""


def release(poller: Dropping, sock: socket.socket, *, reset: bool = False, drained: bool = False) -> None:
    """Take `sock` from the poller, then close it, with a reset if wished. Harmless when it is closed already.

    `drained`: whether the peer's end has been read, so that nothing can be left to discard.
    """
    if sock.fileno() < 0:
        return
    with contextlib.suppress(OSError):
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        elif not drained:
            # Closing with unread bytes sends RST, and the peer may lose the end of what it was sent.
            socket.socket.recv_into(sock, _DRAIN, 0, socket.MSG_DONTWAIT)  # below TLS, if there is any
    poller.drop(sock)
    sock.close()


def reason(error: OSError) -> str:
    """Return what happened, as part of a sentence."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


class _Interest:
    """What is wanted of one socket."""

    __slots__ = ("broken", "mask", "readable", "reset", "sock", "writable")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.mask = 0
        self.broken: Callback | None = None
        self.readable: Callback | None = None
        self.reset: Callback | None = None
        self.writable: Callback | None = None


class _Guards(ABC):
    """What pollers have in common: the sockets, and what happens when a callback raises."""

    def __init__(self) -> None:
        self.faults = LogThrottle(log)
        self._interests: dict[int, _Interest] = {}

    def guard(self, sock: socket.socket, broken: Callback) -> None:
        """See Poller."""
        self._interest(sock).broken = broken

    def run(self, sock: socket.socket, callback: Callback) -> None:
        """See Poller."""
        fd = sock.fileno()
        if fd < 0:
            return
        interest = self._interest(sock)
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - no connection may take the rest with it
            self._end(fd, interest, error)

    @abstractmethod
    def drop(self, sock: socket.socket) -> None:
        """See Poller."""

    def _interest(self, sock: socket.socket) -> _Interest:
        fd = sock.fileno()
        interest = self._interests.get(fd)
        if interest is None:
            interest = self._interests[fd] = _Interest(sock)
        return interest

    def _end(self, fd: int, interest: _Interest, error: Exception) -> None:
        """Have the owner of a socket end, unless the callback that raised has let go of the socket before."""
        try:
            if self._interests.get(fd) is interest:
                (interest.broken or functools.partial(release, self, interest.sock, reset=True))()
        except Exception as another:  # noqa: BLE001 - an owner that can't even end
            release(self, interest.sock, reset=True)
            self.faults.fault(FAULT, another)
        self.faults.fault(FAULT, error)


class EpollPoller(_Guards):
    """The poller of Linux."""

    def __init__(self) -> None:
        super().__init__()
        self.ending = False
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._stale: set[int] = set()  # forgotten during this batch: their number may have a new owner
        self._loop.add_reader(self._epoll.fileno(), self._dispatch)

    def own(self, sock: socket.socket, readable: Callback, broken: Callback) -> None:
        """See Poller."""
        interest = self._interest(sock)
        interest.broken = broken
        interest.readable = readable
        if not interest.mask & select.EPOLLIN:
            self._want(sock, interest, interest.mask | _READ)

    def on_readable(self, sock: socket.socket, callback: Callback) -> None:
        """See Poller."""
        interest = self._interest(sock)
        interest.readable = callback
        self._want(sock, interest, interest.mask | _READ)

    def on_writable(self, sock: socket.socket, callback: Callback) -> None:
        """See Poller."""
        interest = self._interest(sock)
        interest.writable = callback
        self._want(sock, interest, interest.mask | select.EPOLLOUT)

    def ignore_readable(self, sock: socket.socket) -> None:
        """See Poller."""
        if interest := self._interests.get(sock.fileno()):
            interest.readable = None  # the kernel learns of it when it reports the socket; few last that long

    def ignore_writable(self, sock: socket.socket) -> None:
        """See Poller."""
        if interest := self._interests.get(sock.fileno()):
            interest.writable = None
            self._want(sock, interest, interest.mask & ~select.EPOLLOUT)

    def on_reset(self, sock: socket.socket, callback: Callback) -> None:
        """See Poller."""
        if interest := self._interests.get(sock.fileno()):
            interest.readable = None
            interest.reset = callback

    def forget(self, sock: socket.socket) -> None:
        """See Poller."""
        fd = sock.fileno()
        if interest := self._interests.pop(fd, None):
            self._stale.add(fd)
            if interest.mask:
                self._epoll.unregister(fd)

    def drop(self, sock: socket.socket) -> None:
        """See Poller. Closing takes a socket out of the epoll as well (epoll(7), question 6): one call less."""
        fd = sock.fileno()
        if self._interests.pop(fd, None):
            self._stale.add(fd)

    def close(self) -> None:
        """See Poller."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _want(self, sock: socket.socket | int, interest: _Interest, mask: int) -> None:
        if mask == interest.mask:
            return
        if not interest.mask:
            self._epoll.register(sock, mask)
        elif mask:
            self._epoll.modify(sock, mask)
        else:  # epoll reports a broken socket even to those who asked for nothing, again and again
            self._epoll.unregister(sock)
        interest.mask = mask

    def _dispatch(self) -> None:
        self._stale.clear()
        for fd, event in self._epoll.poll(0, _BATCH):
            if fd in self._stale:
                continue
            interest = self._interests.get(fd)
            if interest is None:  # closed here, but a child process that is just being started holds it open
                continue
            try:
                self._serve(fd, interest, event)
            except Exception as error:  # noqa: BLE001 - no connection may take the rest with it
                self.ending = False
                self._end(fd, interest, error)

    def _serve(self, fd: int, interest: _Interest, event: int) -> None:
        if event & _NOT_WRITE:
            if interest.readable:
                self.ending = event & _ENDS == select.EPOLLRDHUP
                interest.readable()
                self.ending = False
            else:
                self._unread(fd, interest, event)
            if fd in self._stale:
                return
        if event & _NOT_READ and interest.writable:
            interest.writable()

    def _unread(self, fd: int, interest: _Interest, event: int) -> None:
        """Stop the reports of a socket that is not read; those of its end in both directions would repeat."""
        if interest.reset and event & select.EPOLLERR:
            interest.reset()
        elif interest.reset and not event & select.EPOLLHUP:
            self._want(fd, interest, interest.mask & ~_READ | select.EPOLLERR)
        else:
            self._want(fd, interest, interest.mask & ~(_READ | select.EPOLLERR))


class LoopPoller(_Guards):
    """The poller of systems without epoll: the event loop's own readers and writers."""

    ending = False  # nobody tells

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def own(self, sock: socket.socket, readable: Callback, broken: Callback) -> None:
        """See Poller."""
        self.guard(sock, broken)
        self.on_readable(sock, readable)

    def on_readable(self, sock: socket.socket, callback: Callback) -> None:
        """See Poller."""
        self._loop.add_reader(sock, self.run, sock, callback)

    def on_writable(self, sock: socket.socket, callback: Callback) -> None:
        """See Poller."""
        self._loop.add_writer(sock, self.run, sock, callback)

    def ignore_readable(self, sock: socket.socket) -> None:
        """See Poller."""
        self._loop.remove_reader(sock)

    def ignore_writable(self, sock: socket.socket) -> None:
        """See Poller."""
        self._loop.remove_writer(sock)

    def on_reset(self, sock: socket.socket, callback: Callback) -> None:
        """See Poller."""
        del callback
        self._loop.remove_reader(sock)

    def forget(self, sock: socket.socket) -> None:
        """See Poller. uvloop aborts the process when a descriptor closes before its callbacks are gone."""
        self._interests.pop(sock.fileno(), None)
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def drop(self, sock: socket.socket) -> None:
        """See Poller."""
        self.forget(sock)

    def close(self) -> None:
        """See Poller."""
