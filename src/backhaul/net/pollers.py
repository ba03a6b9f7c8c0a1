"""The pollers of Linux and of other systems.

That of Linux is an epoll instance beside the event loop, which watches it as a single descriptor. The event loop's own
readers cost two to four epoll_ctl calls and several objects for each change of interest. Here a socket is registered
once and, unless it stalls, not changed again. It is level-triggered: bytes that a callback leaves are reported again.
"""

import asyncio
import select
import socket

from .guards import Guards, Interest
from .poller import Callback, Owner, Poller

_READ = getattr(select, "EPOLLIN", 0) | getattr(select, "EPOLLRDHUP", 0)
_MASKS: dict[int, int] = {}  # each mask once: an integer for each socket would be 32 bytes more
_NOT_READ, _NOT_WRITE = ~_READ, ~getattr(select, "EPOLLOUT", 0)  # errors and hang-ups concern both
_ENDS = getattr(select, "EPOLLRDHUP", 0) | select.POLLHUP | select.POLLERR  # an end, both ends, or a reset
_BATCH = 128  # events per turn of the event loop, so that timers are not starved
_FEW = 7  # events: small frames of so few users, who have several sessions, rarely find one another
_TOGETHER = 16  # events whose small frames wait for each other: enough to share most writes, few enough to leave soon


def make_poller() -> Poller:
    """Return the fastest poller of this system, for the running event loop."""
    return EpollPoller() if hasattr(select, "epoll") else LoopPoller()


class EpollPoller(Guards):
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
            interest = Interest(sock)
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
            if interest.mask and not self._epoll.closed:
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

    def _want(self, sock: socket.socket | int, interest: Interest, mask: int) -> None:
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
        events = self._epoll.poll(0, _BATCH)
        if len(events) > _FEW:
            self._serve_together(events)
        else:
            self._serve_all(events)

    def _serve_together(self, events: list[tuple[int, int]]) -> None:
        last = len(events) - 1
        for start in range(0, last, _TOGETHER):
            self.together.end()
            self.together.on = True
            self._serve_all(events[start : min(start + _TOGETHER, last)])
        self.together.on = False
        self._serve_all(events[last:])  # what leaves now takes along what waits for the same connection
        self.together.end()

    def _serve_all(self, events: list[tuple[int, int]]) -> None:
        for fd, event in events:
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

    def _serve(self, fd: int, interest: Interest, event: int) -> None:
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

    def _unread(self, fd: int, interest: Interest, event: int) -> None:
        """Stop the reports of a socket that is not read: once both directions have ended they would repeat."""
        if interest.reset and event & select.EPOLLERR:
            interest.reset()
        else:
            self._want(fd, interest, interest.mask & ~(_READ | select.EPOLLERR))


class LoopPoller(Guards):
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
