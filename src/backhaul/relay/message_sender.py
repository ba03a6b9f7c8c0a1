"""The sending half of a connection of one user."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import TYPE_CHECKING

from backhaul.net.poller import FAULT, WOULD_BLOCK
from backhaul.net.tcp_info import unacknowledged

from .backlog import Backlog

if TYPE_CHECKING:
    from .resources import ChannelResources


class MessageSender(ABC):
    """Sends messages, or keeps what the connection does not take now."""

    __slots__ = ("_active", "_backlog", "_conn", "_relay", "blocked", "broken")

    def __init__(self, relay: "ChannelResources", conn: socket.socket) -> None:
        self._relay = relay
        self._conn = conn
        self._backlog: Backlog | None = None  # most connections never need one
        self._active = True  # bytes have moved lately
        self.blocked = False
        """True while the connection takes no bytes."""
        self.broken = False
        """True once the connection is gone."""

    @property
    @abstractmethod
    def owner(self) -> Hashable:
        """The transport that the connection belongs to."""

    @property
    def unsent(self) -> int:
        """The number of bytes that wait until the connection takes them."""
        return self._backlog.size if self._backlog else 0

    @property
    def undelivered(self) -> int:
        """The bytes that the kernel still sends."""
        return unacknowledged(self._conn)

    @property
    def moved(self) -> int:
        """A number that rises with each byte that the peer acknowledges while nothing more is sent."""
        return -self.unsent - self.undelivered

    @abstractmethod
    def abort(self) -> None:
        """Reset a connection in an unknown state."""

    @abstractmethod
    def over_budget(self) -> None:
        """Reset the connection, because the peer does not read."""

    @abstractmethod
    def _drained(self) -> None:
        """Unblock the channel, because the connection has taken everything."""

    @abstractmethod
    def _cut(self, error: OSError) -> None:
        """End because sending has failed."""

    def _fail(self, error: Exception) -> None:
        self.abort()
        self._relay.poller.faults.fault(FAULT, error)

    def _transmit(self, data: memoryview | bytes, flags: int = 0) -> None:
        if self.broken:
            return
        self._active = True
        try:
            if self._backlog:
                self._backlog.add(data)
            elif (sent := self._send(data, flags)) < len(data):
                self._keep(data[sent:])
        except OSError as error:
            self._cut(error)
        except Exception as error:  # noqa: BLE001 - the peer may lack some of the bytes, whatever the caller does
            self._fail(error)

    def _send(self, data: memoryview | bytes, flags: int) -> int:
        try:
            return self._conn.send(data, flags)
        except WOULD_BLOCK:
            return 0

    def _keep(self, unsent: memoryview | bytes) -> None:
        self._backlog = Backlog(self._relay.budget, self)
        self.blocked = True
        self._relay.poller.on_writable(self._conn, self._writable)
        self._backlog.add(unsent)

    def _writable(self) -> None:
        backlog = self._backlog
        assert backlog is not None  # noqa: S101 - a writer is only registered for a backlog
        try:
            backlog.send(self._conn)
        except OSError as error:
            self._cut(error)
            return
        if not backlog.size:
            self._backlog = None
            self._drained()
