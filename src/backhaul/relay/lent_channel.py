"""Channels on connections that serve one user after the other.

A connection goes back to its lender when its user has ended cleanly: both directions by their messages, with nothing
unsent, nothing unread, and nothing unexpected. The client is the first to know, because its target may be slow to take
the last bytes. It gives the connection back with a message, FREE, after which the server may use it again. After
anything else the connection is closed, as if it were for a single user.
"""

import socket
from abc import abstractmethod
from typing import Protocol

from backhaul.errors import TransportError

from .codec import LentCodec
from .engine import Relay
from .message_channel import MessageChannel


class Lender(Protocol):
    """The owner of a connection before and after each user. One of the last two methods is called once for a user."""

    @property
    def wanted(self) -> bool:
        """True if the connection may serve another user."""

    def ended(self, channel: "LentChannel") -> None:
        """Close the channel if it waits for too long: its user has gone, and the client may still be at work."""

    def returned(self, channel: "LentChannel") -> None:
        """Take the connection back, which is as new."""

    def lost(self, channel: "LentChannel") -> None:
        """Forget the connection, which is closed."""


class LentChannel(MessageChannel):
    """The common part of both ends."""

    __slots__ = ("_due", "_feeding", "_freed", "_lender")
    _codec: LentCodec

    def __init__(
        self, relay: Relay, conn: socket.socket, codec: LentCodec, lender: Lender, unsent: bytes = b""
    ) -> None:
        self._lender = lender
        self._feeding = False
        self._freed = False  # the server has learnt that the client gives the connection back
        self._due = False  # the connection goes back once this read has been parsed and everything is sent
        super().__init__(relay, conn, codec, unsent)

    def feed(self, data: memoryview) -> None:
        """Parse bytes of the connection, and give it back when they were the last."""
        self._feeding = True
        super().feed(data)
        self._feeding = False
        self._give_back()

    def close(self, *, reset: bool = False) -> None:
        """Close the connection, unless it belongs to its lender again; unless ``reset`` sends what waits first."""
        if self.broken:
            return
        if self.blocked and not reset:
            self._relay.poller.ignore_readable(self._conn)
            self._linger()
        else:
            self._release(reset=reset)

    def on_payload(self, piece: memoryview) -> None:
        """Deliver payload. Raises TransportError after the end of the direction."""
        if self._end_received or not self._consumer:
            raise TransportError("data after the end of a direction")
        self._unread += len(piece) - self._consumer.on_data(piece)

    def on_end(self) -> None:
        """Pass on the end of the peer's direction. Raises TransportError at a second one."""
        if self._end_received:
            raise TransportError("a second end of a direction")
        super().on_end()

    def on_reset(self) -> None:
        """Pass on a reset; close the connection if the user has gone already."""
        if self._consumer:
            super().on_reset()
        else:
            self._lost("reset")

    @abstractmethod
    def _end_user(self) -> None:
        """End this direction of a user who has ended cleanly, and go on without a consumer."""

    def _let_go(self, *, reset: bool) -> None:
        if reset or not self._clean or not self._lender.wanted:
            super()._let_go(reset=reset)
            return
        self._end_user()
        self._consumer = None
        if self.blocked and not self.broken:
            self._outlive()
        self._give_back()

    @property
    def _clean(self) -> bool:
        """True if nothing of the user is left on this end but the end of its direction."""
        if self._reset_received or self.broken:
            return False
        return self._end_received and self.half_close and not (self._unread or self.blocked)

    def _give_back(self) -> None:
        if not self._due or self._feeding or self.blocked or self.broken:
            return
        if not self._codec.between_messages:
            self._release()
            return
        self.broken = True  # for late calls: the connection is no longer this channel's
        self._relay.pings.discard(self)
        self._codec.release()
        self._lender.returned(self)

    def _unpark(self) -> None:
        super()._unpark()
        if not self._consumer:
            self._relay.forget(self)
        self._give_back()

    def _over(self) -> None:
        super()._over()
        if not self._consumer and not self.broken:
            self._release()

    def _release(self, *, reset: bool = False) -> None:
        super()._release(reset=reset)
        self._lender.lost(self)


class ClientChannel(LentChannel):
    """The client's end, which gives the connection back."""

    __slots__ = ()

    def _end_user(self) -> None:
        end = b"" if self._end_sent else self._codec.end()
        self._end_sent = True
        self._transmit(end + self._codec.free())
        self._due = True


class ServerChannel(LentChannel):
    """The server's end, which waits for FREE."""

    __slots__ = ()

    def on_free(self) -> None:
        """Give the connection back when the user has taken everything. Raises TransportError if that is too early."""
        if self._freed or not (self._end_sent and self._end_received) or self.blocked:
            raise TransportError("a connection was given back while its user was on it")
        self._freed = True
        self._due = not self._consumer

    def _end_user(self) -> None:
        self._send_end()
        self._due = self._freed
        if not self._due and not self.broken:
            self._lender.ended(self)
