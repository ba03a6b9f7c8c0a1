"""The guards of sockets: a callback that raises ends the owner of its socket, and nothing else."""

import logging
import socket
from abc import ABC, abstractmethod

from .closing import release
from .descriptors import Descriptors
from .lingering import Lingering
from .log_throttle import LogThrottle
from .narrow_path import NarrowPath
from .poller import FAULT, Callback, Owner
from .spare import SpareDescriptor
from .together import Together

log = logging.getLogger("backhaul")


class Interest:
    """The callbacks of one socket."""

    __slots__ = ("mask", "owner", "readable", "reset", "sock", "writable")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.mask = 0
        self.owner: Owner | None = None
        self.readable: Callback | None = None
        self.reset: Callback | None = None
        self.writable: Callback | None = None


class Guards(ABC):
    """The common part of pollers: the sockets, and the handling of callbacks that raise."""

    def __init__(self) -> None:
        self.faults = LogThrottle(log)
        self.spare = SpareDescriptor()
        self.descriptors = Descriptors()
        self.lingering = Lingering(self)
        self.together = Together(self.faults)
        self._interests: dict[int, Interest] = {}
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

    def _interest(self, sock: socket.socket) -> Interest:
        fd = sock.fileno()
        interest = self._interests.get(fd)
        if interest is None:
            interest = self._interests[fd] = Interest(sock)
        return interest

    def _end(self, fd: int, interest: Interest, error: Exception) -> None:
        """End the owner of a socket, unless the callback released the socket before it raised."""
        try:
            if self._interests.get(fd) is interest:
                self._abort(interest)
        except Exception as another:  # noqa: BLE001 - the owner failed to end
            release(self, interest.sock, reset=True)
            self.faults.fault(FAULT, another)
        self.faults.fault(FAULT, error)

    def _abort(self, interest: Interest) -> None:
        if interest.owner:
            interest.owner.abort()
        else:
            release(self, interest.sock, reset=True)
