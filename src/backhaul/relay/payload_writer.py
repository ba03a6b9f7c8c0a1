"""The payload of a channel on its way to a socket."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Final

from backhaul.net.poller import WOULD_BLOCK

from .backlog import Backlog
from .channel import Channel
from .traffic import Meter

if TYPE_CHECKING:
    from .resources import JointResources

_SMALL_PIECE: Final = 4096  # bytes below which joining pieces is cheaper than a vector of them
_MOST_PIECES: Final = 1024  # IOV_MAX of Linux: the kernel takes no longer vector


class PayloadWriter(ABC):
    """Writes the pieces of payload as they lie in the read buffer, and keeps those that the socket does not take."""

    __slots__ = ("_answered", "_backlog", "_pieces", "_relay", "_sock", "_to_sock", "channel", "closed", "given")

    def __init__(self, relay: "JointResources", channel: Channel, sock: socket.socket, to_sock: Meter) -> None:
        self._relay = relay
        self.channel = channel
        self._sock = sock
        self._to_sock = to_sock
        self.given = 0  # bytes written to the socket
        self.closed = False
        self._pieces: list[memoryview] | tuple[()] = ()
        self._backlog: Backlog | None = None  # most relays never need one
        self._answered = False  # the channel moved bytes last

    @property
    def owner(self) -> Hashable:
        """The transport that carries the payload."""
        return self.channel.owner

    def deliver(self) -> None:
        """Write the pieces in the shared buffer; keep a copy of those that the socket does not take."""
        pieces, self._pieces = self._pieces, ()  # no empty list: most relays are idle
        if self.closed:
            return
        try:
            sent = 0 if self._backlog else self._write(pieces)
            if sent >= 0:
                self._keep(pieces, sent)
            self._after_delivery()
        except Exception as error:  # noqa: BLE001 - the other streams of the session must get their pieces
            self._fail(error)

    @abstractmethod
    def over_budget(self) -> None:
        """End because the socket does not read."""

    @abstractmethod
    def sock_reset(self) -> None:
        """End because the socket was reset, after the bytes that had arrived."""

    @abstractmethod
    def _fail(self, error: Exception) -> None:
        """Reset both sides, because the program has failed."""

    @abstractmethod
    def _flags(self) -> int:
        """Return the flags of send(2) for payload."""

    @abstractmethod
    def _after_delivery(self) -> None:
        """Act on an end that was to follow the payload, if all of that was written."""

    def _send_kept(self, kept: bytes) -> None:
        pieces = (memoryview(kept),)
        sent = self._write(pieces)
        if sent < 0:
            return
        if sent < len(kept):
            self._keep(pieces, sent)
        self.channel.settle()

    def _write(self, pieces: Sequence[memoryview]) -> int:
        """Return how many bytes the socket took, or -1 if it broke."""
        flags = self._flags()
        try:
            if len(pieces) == 1:
                sent = self._sock.send(pieces[0], flags)
            elif len(pieces[0]) < _SMALL_PIECE or len(pieces) > _MOST_PIECES:
                sent = self._sock.send(b"".join(pieces), flags)
            else:
                sent = self._sock.sendmsg(pieces, [], flags)
        except WOULD_BLOCK:
            return 0
        except OSError:
            self.sock_reset()
            return -1
        self._count(sent)
        return sent

    def _keep(self, pieces: Sequence[memoryview], sent: int) -> None:
        if sent < sum(map(len, pieces)):
            self._backlog = self._backlog or Backlog(self._relay.budget, self, self._to_sock)
            self._relay.poller.on_writable(self._sock, self._writable)
            self._backlog.add_rest(pieces, sent)

    def _count(self, sent: int) -> None:
        self.given += sent
        self._answered = True
        self._to_sock.bytes += sent
        self.channel.consumed(sent)

    def _writable(self) -> None:
        self._flush()
        self._after_delivery()

    def _flush(self) -> None:
        backlog = self._backlog
        assert backlog is not None  # noqa: S101 - a writer is only registered for a backlog
        try:
            sent = self._send(backlog)
        except OSError:
            self.sock_reset()
            return
        if not backlog.size:
            self._backlog = None
            self._relay.poller.ignore_writable(self._sock)
        self._count(sent)
        self.channel.settle()

    def _send(self, backlog: Backlog) -> int:
        """Return how many bytes of the backlog the socket took. Raises OSError."""
        return backlog.send(self._sock)
