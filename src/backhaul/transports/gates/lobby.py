"""The lobby of a gate: connections that have proved nothing yet."""

import functools
import logging
import socket
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from backhaul.failures import network_of
from backhaul.net.closing import release
from backhaul.net.deadlines import Deadlines
from backhaul.net.poller import WOULD_BLOCK, Poller
from backhaul.relay.reclaimer import Tide

from .crowd import Crowd
from .reputation import Reputation

log = logging.getLogger("backhaul.server")

_READ_SIZE: Final = 1 << 14  # at least a record of TLS, because no poller sees what stays in its buffer


class PendingConnection:
    """A connection that has proved nothing yet. Gates derive classes with further attributes."""

    __slots__ = ("ip", "listening", "network", "sock", "trusted")

    def __init__(self, sock: socket.socket, ip: str) -> None:
        self.sock = sock
        self.ip = ip
        self.network = network_of(ip)
        self.trusted = False
        """True if its network had proved itself before."""
        self.listening = False


def first_bytes(sock: socket.socket) -> bytes:
    """Return the bytes that have arrived, because a client sends at once; the next read finds the end, if any."""
    try:
        return sock.recv(_READ_SIZE)
    except OSError:  # no bytes yet, or a broken connection, which reports its end again
        return b""


Pending = TypeVar("Pending", bound=PendingConnection)


class Lobby(Generic[Pending]):
    """Owns connections from ``admit`` until ``take`` or ``dismiss``, and reads them from ``listen`` on.

    At most ``limit`` connections wait, and at most ``share`` of each untrusted network. The oldest one of the network
    that has the most makes room. Trusted connections have half of the places and the others have half; neither kind
    displaces the other from its half. When descriptors are scarce, each newcomer takes the place of another one.
    """

    def __init__(
        self,
        poller: Poller,
        reputation: Reputation,
        received: Callable[[Pending, bytes], None],
        *,
        limit: int,
        share: int,
        seconds: float,
        tide: Tide,
        left: Callable[[Pending], None] = lambda _: None,
    ) -> None:
        """``received`` gets the bytes of a connection, ``left`` each connection that leaves, for any reason.

        ``tide`` follows their number.
        """
        self._poller = poller
        self._reputation = reputation
        self._received = received
        self._left = left
        self._limit = limit
        self._share = share
        self._seconds = seconds
        self._tide = tide
        self._deadlines: Deadlines[Pending] = Deadlines(seconds, self._expired)
        self._trusted: Crowd[Pending] = Crowd()
        self._unknown: Crowd[Pending] = Crowd()

    def __contains__(self, pending: Pending) -> bool:
        return pending in self._deadlines

    def __len__(self) -> int:
        return len(self._deadlines)

    def admit(self, pending: Pending) -> None:
        """Take over the connection."""
        pending.trusted = self._reputation.trusts(pending.network)
        self._make_room(pending)
        self._deadlines.add(pending)
        self._crowd(pending).add(pending.network, pending)
        self._tide.level(len(self))

    def listen(self, pending: Pending) -> None:
        """Read the connection; close it if it can't be watched."""
        pending.listening = True
        try:
            self._poller.on_readable(pending.sock, functools.partial(self.read, pending))
        except OSError:  # ENOSPC, ENOMEM: epoll_ctl(2)
            self.dismiss(pending)

    def read(self, pending: Pending) -> None:
        """Read the bytes that have arrived."""
        try:
            data = pending.sock.recv(_READ_SIZE)
        except WOULD_BLOCK:
            return
        except OSError:
            data = b""
        if data:
            self._received(pending, data)
        else:
            self.dismiss(pending)

    def take(self, pending: Pending) -> None:
        """Give up the connection, which the caller owns from now on."""
        self._remove(pending)
        self._poller.ignore_readable(pending.sock)

    def dismiss(self, pending: Pending) -> None:
        """Close the connection."""
        self._remove(pending)
        release(self._poller, pending.sock)

    def close(self) -> None:
        """Close all connections."""
        for pending in list(self._deadlines):
            self.dismiss(pending)
        self._deadlines.clear()

    def _crowd(self, pending: Pending) -> Crowd[Pending]:
        return self._trusted if pending.trusted else self._unknown

    def _make_room(self, newcomer: Pending) -> None:
        if not newcomer.trusted and self._unknown.size(newcomer.network) >= self._share:
            self._push_out(self._unknown.oldest_of(newcomer.network))
        elif len(self) >= self._limit or (len(self) and self._is_late(newcomer)):
            crowded = self._trusted if not self._unknown or len(self._trusted) > self._limit // 2 else self._unknown
            self._push_out(crowded.oldest_of_largest())

    def _is_late(self, newcomer: Pending) -> bool:
        """Return whether descriptors are scarce."""
        return newcomer.sock.fileno() >= self._poller.descriptors.pending_end()

    def _push_out(self, pending: Pending) -> None:
        """Close a connection to make room, after a last read: in a burst its proof may have arrived unread."""
        if pending.listening:
            self.read(pending)
        if pending in self:
            self.dismiss(pending)

    def _remove(self, pending: Pending) -> None:
        self._deadlines.discard(pending)
        self._crowd(pending).discard(pending.network, pending)
        self._tide.level(len(self))
        self._left(pending)

    def _expired(self, pending: Pending) -> None:
        log.debug("connection from %s: dropped, it has proved nothing within %g s", pending.ip, self._seconds)
        self.dismiss(pending)
