"""An idle tunnel connection, watched for its first bytes and for its end."""

import functools
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from backhaul.net.closing import release
from backhaul.net.poller import WOULD_BLOCK
from backhaul.net.portion import FIRST
from backhaul.net.predicates import has_input, is_established
from backhaul.net.sockets import expect_outages
from backhaul.transports.connection import Connection

if TYPE_CHECKING:
    from .resources import IdleResources


class SilentConnection(ABC):
    """Owns the connection until a subclass passes it on."""

    __slots__ = ("_active", "_relay", "_sock", "_spaced", "_unsent", "peer", "portion")
    reused = False
    """True if the connection serves one user after the other."""
    read_size = 1 << 14
    """Bytes of a read, with TLS more: those of a user may follow the target."""

    def __init__(self, relay: "IdleResources", connection: Connection) -> None:
        self._relay = relay
        self._sock = connection.sock
        self.peer = connection.peer
        self.portion = FIRST
        """Bytes of the first read for the next user, by what those for the last one cost."""
        self._active = True  # bytes have moved lately
        self._unsent = b""  # the rest of a message that has been sent in part
        self._spaced = False  # the kernel's probes are those of a connection with a user
        if self.reused:
            # Nagle's algorithm would hold a target until the peer's delayed acknowledgement of the end of the user
            # before (measured: 35 ms for each user), whatever ``nodelay`` is. Messages are joined here.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            relay.poller.own(self._sock, self._readable, self)
        except OSError:  # ENOSPC, ENOMEM: epoll_ctl(2)
            self._refuse()

    @abstractmethod
    def _received(self, data: bytes) -> None:
        """Handle bytes from the peer."""

    @abstractmethod
    def _gone(self) -> None:
        """Tell the owner that the connection is closed, by either end."""

    @property
    def sock(self) -> socket.socket:
        """The connection."""
        return self._sock

    def close(self, *, reset: bool = False) -> None:
        """Close the connection."""
        release(self._relay.poller, self._sock, reset=reset)

    def abort(self) -> None:
        """Close the connection with a reset, because the program has failed and bytes may have left in part."""
        self.close(reset=True)
        self._gone()

    def _alive(self) -> bool:
        """Return whether the connection is silent, as it should be; otherwise its bytes or its end are handled.

        Bytes on a reused one may concern the previous user, and are handled with those of the next.
        """
        if self._sock.fileno() < 0:
            return False
        silent = is_established(self._sock) if self.reused else not has_input(self._sock)
        if silent:
            return True
        self._readable()
        return False

    def _receive_later(self, data: bytes) -> None:
        """Handle bytes that arrived with the handshake after the owner has got to know this object."""
        self._relay.loop.call_soon(self._relay.poller.run, self._sock, functools.partial(self._received, data))

    def _send_control(self, data: bytes) -> bool:
        """Send a ping or the answer to one; return False, with the connection closed, if it is dead.

        While an earlier one waits for the connection nothing is sent, because one is enough.
        """
        if self._unsent:
            return True
        self._active = True
        return self._send(data)

    def _was_active(self) -> bool:
        """Return whether bytes have moved since the last call."""
        active, self._active = self._active, False
        return active

    def _announce(self, data: bytes) -> bytes:
        """Send ``data``; return the rest, which the next owner of the connection sends before anything else.

        Raises OSError, with the connection closed, if it is dead: nothing of ``data`` has left then. Once a part may
        have left, ``data`` must not be sent on another connection.
        """
        self._expect_outages()
        if self._unsent:
            self._relay.poller.ignore_writable(self._sock)
            return self._unsent + data
        try:
            return self._rest_of(data)
        except OSError:
            self.close()
            raise

    def _expect_outages(self) -> None:
        """Space the kernel's probes. They stay so between two users, which saves two system calls for each."""
        if not self._spaced:
            self._spaced = True
            expect_outages(self._sock)

    def _rest(self) -> None:
        """Own the connection again, after its user has ended."""
        self._active = True
        self._unsent = b""
        self._relay.poller.own(self._sock, self._readable, self)

    def _send(self, data: bytes) -> bool:
        try:
            self._unsent = self._rest_of(data)
            if self._unsent:
                self._relay.poller.on_writable(self._sock, self._writable)  # ENOSPC, ENOMEM: epoll_ctl(2)
        except OSError:
            self.close()
            return False
        return True

    def _rest_of(self, data: bytes) -> bytes:
        """Send ``data``; return the rest that the connection does not take now. Raises OSError."""
        try:
            return data[self._sock.send(data) :]
        except WOULD_BLOCK:
            return data

    def _writable(self) -> None:
        self._relay.poller.ignore_writable(self._sock)
        if not self._send(self._unsent):
            self._gone()

    def _readable(self) -> None:
        try:
            data = self._sock.recv(self.read_size)
        except WOULD_BLOCK:
            return
        except OSError:
            data = b""
        if data:
            self._active = True
            self._received(data)
        else:
            self._give_up()

    def _refuse(self) -> None:
        """Close a connection that is unusable from the first; tell its owner, which is creating this object, later."""
        self.close()
        self._relay.loop.call_soon(self._gone)

    def _give_up(self) -> None:
        self.close()
        self._gone()
