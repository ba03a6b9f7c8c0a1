"""The poller: an epoll instance beside the event loop, which watches it as a single descriptor.

The event loop's own readers cost two to four epoll_ctl calls and several objects for each change of interest. Here a
socket is registered once and, unless it stalls, not changed again. It is level-triggered: bytes that a callback leaves
are reported again.
"""

import asyncio
import logging
import select
import socket
import ssl
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from .descriptors import Descriptors
from .lingering import DRAIN, Lingering
from .log_throttle import LogThrottle
from .narrow_path import NarrowPath
from .spare import SpareDescriptor

log = logging.getLogger("backhaul")
FAULT = "internal error in a connection handler; connection closed"
Callback = Callable[[], None]

# The exceptions of a non-blocking socket that would have to wait; those of TLS are no BlockingIOError.
WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

END_FOLLOWS = getattr(socket, "MSG_MORE", 0)
"""A flag of send(2): the bytes share a packet with the end of the stream, which the caller sends next."""

_READ = getattr(select, "EPOLLIN", 0) | getattr(select, "EPOLLRDHUP", 0)
_MASKS: dict[int, int] = {}  # each mask once: an integer for each socket would be 32 bytes more
_NOT_READ, _NOT_WRITE = ~_READ, ~getattr(select, "EPOLLOUT", 0)  # errors and hang-ups concern both
_ENDS = getattr(select, "EPOLLRDHUP", 0) | select.POLLHUP | select.POLLERR  # an end, both ends, or a reset
_BATCH = 128  # events per turn of the event loop, so that timers are not starved
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: close(2) sends RST (socket(7))


class Owner(Protocol):
    """The owner of a socket, which ends as a whole when one of its callbacks raises.

    A poller keeps the owner and no bound method: for each socket of an idle connection that is 64 bytes less.
    """

    def abort(self) -> None:
        """End with a reset, because the program has failed and the state is unknown."""


class Poller(Protocol):
    """A poller calls back when a socket is readable or writable. A callback may come without cause."""

    ending: bool
    """Within a callback: true if the peer has ended cleanly, so that the end may follow the bytes."""

    faults: LogThrottle
    """The log of unexpected exceptions, those of callbacks and of other handlers of connections."""

    spare: SpareDescriptor
    """A descriptor for the acceptors, until the poller is closed."""

    descriptors: Descriptors
    """The shares in the limit of open files."""

    narrow_path: NarrowPath
    """The detection of a path that drops large packets."""

    lingering: Lingering
    """The connections that are closed when their peers have ended, until the poller is closed."""

    def guard(self, sock: socket.socket, owner: Owner) -> None:
        """Abort ``owner`` when a callback of ``sock`` raises; without an owner ``sock`` is reset.

        A later owner replaces this one, and forgetting the socket removes it.
        """

    def own(self, sock: socket.socket, readable: Callback, owner: Owner) -> None:
        """Combine ``guard`` and ``on_readable`` for a new owner of ``sock``."""

    def on_readable(self, sock: socket.socket, callback: Callback) -> None:
        """Call ``callback`` from now on whenever ``sock`` has bytes, has ended or is broken."""

    def on_writable(self, sock: socket.socket, callback: Callback) -> None:
        """Call ``callback`` from now on whenever ``sock`` accepts bytes or is broken."""

    def run(self, sock: socket.socket, callback: Callback) -> None:
        """Call ``callback`` under the socket's guard, unless it is closed: for timers and deferred work."""

    def ignore_readable(self, sock: socket.socket) -> None:
        """Stop the calls of ``on_readable``."""

    def ignore_writable(self, sock: socket.socket) -> None:
        """Stop the calls of ``on_writable``."""

    def on_reset(self, sock: socket.socket, callback: Callback) -> None:
        """Stop the calls of ``on_readable`` for a ``sock`` that has ended; call ``callback`` if it is reset later.

        Not every poller can do so; otherwise the next send fails.
        """

    def forget(self, sock: socket.socket) -> None:
        """Stop all calls; the socket stays open, with another owner."""

    def drop(self, sock: socket.socket) -> None:
        """Stop all calls; the caller must close the socket at once."""

    def close(self) -> None:
        """Release the poller's own resources."""


def make_poller() -> Poller:
    """Return the fastest poller of this system, for the running event loop."""
    return EpollPoller() if hasattr(select, "epoll") else LoopPoller()


class Dropping(Protocol):
    """The part of a poller that closing a socket needs."""

    lingering: Lingering

    def drop(self, sock: socket.socket) -> None:
        """Stop all calls; the caller must close the socket at once."""


def release(poller: Dropping, sock: socket.socket, *, reset: bool = False, drained: bool = False) -> None:
    """Drop ``sock`` from the poller and close it, optionally with a reset; harmless if it is closed already.

    ``drained`` means that the peer's end has been read, so no bytes remain to be discarded. Otherwise unread bytes let
    the socket linger.
    """
    if sock.fileno() < 0:
        return
    try:  # each user ends here, and `contextlib.suppress` takes three calls of Python
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        elif not drained and socket.socket.recv_into(sock, DRAIN, 0, socket.MSG_DONTWAIT):  # below TLS, if any
            poller.lingering.add(sock)
            return
    except OSError:
        pass
    poller.drop(sock)
    sock.close()


def linger(poller: Dropping, sock: socket.socket) -> None:
    """End the direction of ``sock``, and close it when the peer, which may not have read the last bytes, has ended."""
    if sock.fileno() >= 0:
        poller.lingering.add(sock)


class _Interest:
    """The callbacks of one socket."""

    __slots__ = ("mask", "owner", "readable", "reset", "sock", "writable")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.mask = 0
        self.owner: Owner | None = None
        self.readable: Callback | None = None
        self.reset: Callback | None = None
        self.writable: Callback | None = None


class _Guards(ABC):
    """The common part of pollers: the sockets, and the handling of callbacks that raise."""

    def __init__(self) -> None:
        self.faults = LogThrottle(log)
        self.spare = SpareDescriptor()
        self.descriptors = Descriptors()
        self.lingering = Lingering(self)
        self._interests: dict[int, _Interest] = {}
        self.narrow_path = NarrowPath(lambda: [interest.sock for interest in self._interests.values()])

    def guard(self, sock: socket.socket, owner: Owner) -> None:
        """Set the owner of ``sock``."""
        self._interest(sock).owner = owner

    def run(self, sock: socket.socket, callback: Callback) -> None:
        """Call ``callback`` under the socket's guard, unless it is closed."""
        fd = sock.fileno()
        if fd < 0:
            return
        interest = self._interest(sock)
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - an error must end one connection only
            self._end(fd, interest, error)

    @abstractmethod
    def own(self, sock: socket.socket, readable: Callback, owner: Owner) -> None:
        """Combine ``guard`` and ``on_readable``."""

    @abstractmethod
    def forget(self, sock: socket.socket) -> None:
        """Stop all calls; the socket stays open."""

    @abstractmethod
    def drop(self, sock: socket.socket) -> None:
        """Stop all calls; the caller must close the socket at once."""

    def _interest(self, sock: socket.socket) -> _Interest:
        fd = sock.fileno()
        interest = self._interests.get(fd)
        if interest is None:
            interest = self._interests[fd] = _Interest(sock)
        return interest

    def _end(self, fd: int, interest: _Interest, error: Exception) -> None:
        """End the owner of a socket, unless the callback released the socket before it raised."""
        try:
            if self._interests.get(fd) is interest:
                self._abort(interest)
        except Exception as another:  # noqa: BLE001 - the owner failed to end
            release(self, interest.sock, reset=True)
            self.faults.fault(FAULT, another)
        self.faults.fault(FAULT, error)

    def _abort(self, interest: _Interest) -> None:
        if interest.owner:
            interest.owner.abort()
        else:
            release(self, interest.sock, reset=True)


class EpollPoller(_Guards):
    """The poller of Linux."""

    def __init__(self) -> None:
        super().__init__()
        self.ending = False
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._stale: set[int] = set()  # forgotten during this batch; a new socket may have the same number
        self._loop.add_reader(self._epoll.fileno(), self._dispatch)

    def own(self, sock: socket.socket, readable: Callback, owner: Owner) -> None:
        """Combine ``guard`` and ``on_readable``."""
        fd = sock.fileno()
        interest = self._interests.get(fd)
        if interest is None:  # a new socket, as for each user
            interest = _Interest(sock)
            self._epoll.register(fd, _READ)
            interest.mask = _READ
            self._interests[fd] = interest
        elif not interest.mask & select.EPOLLIN:
            self._want(sock, interest, interest.mask | _READ)
        interest.owner = owner
        interest.readable = readable

    def on_readable(self, sock: socket.socket, callback: Callback) -> None:
        """Watch ``sock`` for bytes, its end and errors."""
        interest = self._interest(sock)
        interest.readable = callback
        self._want(sock, interest, interest.mask | _READ)

    def on_writable(self, sock: socket.socket, callback: Callback) -> None:
        """Watch ``sock`` for room."""
        interest = self._interest(sock)
        interest.writable = callback
        self._want(sock, interest, interest.mask | select.EPOLLOUT)

    def ignore_readable(self, sock: socket.socket) -> None:
        """Stop the calls of ``on_readable``."""
        if interest := self._interests.get(sock.fileno()):
            interest.readable = None  # the epoll is changed at the next report, which is rare

    def ignore_writable(self, sock: socket.socket) -> None:
        """Stop the calls of ``on_writable``."""
        if interest := self._interests.get(sock.fileno()):
            interest.writable = None
            self._want(sock, interest, interest.mask & ~select.EPOLLOUT)

    def on_reset(self, sock: socket.socket, callback: Callback) -> None:
        """Stop the calls of ``on_readable``, and the reports of the end; watch for a reset."""
        if interest := self._interests.get(sock.fileno()):
            interest.readable = None
            interest.reset = callback
            self._want(sock, interest, interest.mask & ~_READ | select.EPOLLERR)

    def forget(self, sock: socket.socket) -> None:
        """Stop all calls; the socket stays open."""
        fd = sock.fileno()
        if interest := self._interests.pop(fd, None):
            self._stale.add(fd)
            if interest.mask:
                self._epoll.unregister(fd)

    def drop(self, sock: socket.socket) -> None:
        """Stop all calls. Closing removes a socket from the epoll too (epoll(7), question 6), which saves a call."""
        fd = sock.fileno()
        if self._interests.pop(fd, None):
            self._stale.add(fd)

    def close(self) -> None:
        """Close the epoll, the spare descriptor, and what lingers."""
        self.lingering.close()
        self.spare.close()
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
        else:  # with an empty mask epoll would report a broken socket again and again
            self._epoll.unregister(sock)
        interest.mask = _MASKS.setdefault(mask, mask)

    def _dispatch(self) -> None:
        self._stale.clear()
        for fd, event in self._epoll.poll(0, _BATCH):
            if fd in self._stale:
                continue
            interest = self._interests.get(fd)
            if interest is None:  # closed here, but still open in a child process that is just starting
                continue
            try:
                self._serve(fd, interest, event)
            except Exception as error:  # noqa: BLE001 - an error must end one connection only
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
        """Stop the reports of a socket that is not read: once both directions have ended they would repeat."""
        if interest.reset and event & select.EPOLLERR:
            interest.reset()
        else:
            self._want(fd, interest, interest.mask & ~(_READ | select.EPOLLERR))


class LoopPoller(_Guards):
    """The poller of systems without epoll: the event loop's own readers and writers."""

    ending = False  # unknown to the event loop

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def own(self, sock: socket.socket, readable: Callback, owner: Owner) -> None:
        """Combine ``guard`` and ``on_readable``."""
        self.guard(sock, owner)
        self.on_readable(sock, readable)

    def on_readable(self, sock: socket.socket, callback: Callback) -> None:
        """Watch ``sock`` for bytes, its end and errors."""
        self._loop.add_reader(sock, self.run, sock, callback)

    def on_writable(self, sock: socket.socket, callback: Callback) -> None:
        """Watch ``sock`` for room."""
        self._loop.add_writer(sock, self.run, sock, callback)

    def ignore_readable(self, sock: socket.socket) -> None:
        """Stop the calls of ``on_readable``."""
        self._loop.remove_reader(sock)

    def ignore_writable(self, sock: socket.socket) -> None:
        """Stop the calls of ``on_writable``."""
        self._loop.remove_writer(sock)

    def on_reset(self, sock: socket.socket, callback: Callback) -> None:
        """Stop the calls of ``on_readable``; the event loop can't watch for a reset alone."""
        del callback
        self._loop.remove_reader(sock)

    def forget(self, sock: socket.socket) -> None:
        """Stop all calls. uvloop aborts the process when a descriptor closes before its callbacks are gone."""
        self._interests.pop(sock.fileno(), None)
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def drop(self, sock: socket.socket) -> None:
        """Stop all calls; the caller must close the socket at once."""
        self.forget(sock)

    def close(self) -> None:
        """Close the spare descriptor and what lingers; the event loop owns its readers."""
        self.lingering.close()
        self.spare.close()
