"""Channels on connections that serve one user after the other.

A connection goes back to its lender when its user has ended cleanly: both directions by their messages, with nothing
unsent, nothing unread, and nothing unexpected. The client may be the last to be ready, because its target may be slow
to take the last bytes. The end of its direction gives the number that the target has taken. If these are all, both ends
know with the second end that the connection is free; otherwise the client gives it back with a further message, FREE.
After anything else the connection is closed, as if it were for a single user.
"""

import socket
from abc import abstractmethod
from collections.abc import Hashable
from typing import TYPE_CHECKING, Final, Protocol

from backhaul.errors import TransportError

from .channel import Consumer
from .codec import LentCodec
from .message_channel import MessageChannel

if TYPE_CHECKING:
    from .resources import ChannelResources

_NOT_TOLD: Final = -1  # no number of bytes
_NEVER: Final = (1 << 64) - 1  # a number of bytes that is never sent: the connection will be closed


class Joined(Consumer, Protocol):
    """A socket that is joined with a channel, and its counters."""

    given: int
    """Bytes written to the socket."""
    taken: int
    """Bytes read from the socket."""


class Lender(Protocol):
    """The owner of a connection before and after each user, for whom either ``returned`` or ``lost`` is called once."""

    portion: int
    """Bytes of the next read, by what the bytes of the last one cost."""

    @property
    def owner(self) -> Hashable:
        """The transport that the connection belongs to."""

    def returned(self, channel: "LentChannel", rest: bytes) -> None:
        """Take the connection back, which is as new; the next user begins with ``rest``."""

    def lost(self, channel: "LentChannel") -> None:
        """Forget the connection, which is closed."""


class ServingLender(Lender, Protocol):
    """The owner of a connection on the public end."""

    @property
    def wanted(self) -> bool:
        """True if the connection may serve another user."""

    def ended(self, channel: "LentChannel") -> None:
        """Close the channel if it waits for too long: its user has gone, and the client may still be at work."""


class LentChannel(MessageChannel):
    """The common part of both ends."""

    __slots__ = ("_before", "_due", "_feeding", "_freed", "_lender", "_told")
    _codec: LentCodec
    _consumer: Joined | None

    def __init__(
        self, relay: "ChannelResources", conn: socket.socket, codec: LentCodec, lender: Lender, unsent: bytes = b""
    ) -> None:
        self._lender = lender
        self._feeding = False
        self._due = False  # the connection goes back once this read has been parsed and everything is sent
        self._told = _NOT_TOLD  # bytes that the target had taken at the end of its direction, as the client has told
        self._freed = False  # the server has learnt that the client gives the connection back
        super().__init__(relay, conn, codec, unsent, owner=lender.owner)
        self._portion = lender.portion

    def feed(self, data: memoryview) -> None:
        """Parse bytes of the connection, and give it back when they were the last."""
        self._feeding = True
        super().feed(data)
        self._feeding = False
        self._give_back()

    def close(self, *, reset: bool = False) -> None:
        """Close the connection, after waiting bytes unless ``reset``; not if it belongs to its lender again."""
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

    def on_end(self, taken: int) -> None:
        """Pass on the end of the peer's direction. Raises TransportError at a second one."""
        if self._end_received:
            raise TransportError("a second end of a direction")
        super().on_end(taken)

    def on_reset(self) -> None:
        """Pass on a reset; close the connection if the user has gone already."""
        if self._consumer:
            super().on_reset()
        else:
            self._lost("reset")

    @abstractmethod
    def _end_user(self) -> None:
        """End this direction of a user who has ended cleanly, and continue without a consumer."""

    def _let_go(self, *, reset: bool) -> None:
        if reset or not self._clean:
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
        return self._end_received and self.half_close and not self._unread

    def _give_back(self) -> None:
        if not self._due or self._feeding or self.broken:
            return
        if self.blocked:
            self._relay.poller.ignore_readable(self._conn)  # later bytes would be kept, however many they are
            return
        if not self._codec.between_messages:
            self._release()
            return
        self.broken = True  # for late calls: the connection is no longer this channel's
        if self._codec.pings:
            self._relay.pings.discard(self)
        self._finish()
        rest = self._codec.rest()
        self._codec.release()
        self._lender.portion = self._portion
        self._lender.returned(self, rest)

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

    def on_end(self, taken: int) -> None:
        """Pass on the end of the user's direction; later bytes may concern the next user."""
        super().on_end(taken)
        if not self._consumer and not self._due:  # the reset of the target arrived too late to matter
            self._due = True
            if not self.blocked:
                self._relay.forget(self)
        if self._due:
            self._codec.stop()

    def on_payload(self, piece: memoryview) -> None:
        """Deliver payload. The user of a target that was reset after its end may send until that arrives."""
        if self._consumer or self._end_received:
            super().on_payload(piece)
        elif not self.broken:
            self._lost("reset")

    def _tell_taken(self) -> int:
        self._told = self._consumer.given if self._consumer else _NEVER
        return self._told

    def _end_user(self) -> None:
        if not self._end_sent:
            self._send_end()
        elif self._consumer and self._told < self._consumer.given:
            self._transmit(self._codec.free())
        self._due = True

    def _let_go(self, *, reset: bool) -> None:
        if reset and self._may_be_free:
            self._consumer = None
            self._transmit(self._codec.reset_after_end())
            if not self.broken:
                self._outlive()
        elif reset or self._clean:
            super()._let_go(reset=reset)
        else:
            self._consumer = None  # so that an end does not free the connection
            super()._let_go(reset=False)

    @property
    def _may_be_free(self) -> bool:
        """True if the server may have ended, too, and given the connection to another user already."""
        told_all = self._consumer is not None and self._told == self._consumer.given and not self._unread
        return told_all and not (self._end_received or self._reset_received or self.blocked or self.broken)


class ServerChannel(LentChannel):
    """The server's end, which learns whether the client gives the connection back."""

    __slots__ = ()
    _lender: ServingLender

    def __init__(
        self,
        relay: "ChannelResources",
        conn: socket.socket,
        codec: LentCodec,
        lender: ServingLender,
        unsent: bytes = b"",
        *,
        before: int = 0,
    ) -> None:
        """Take over ``conn``; ``before`` is the number of bytes that the target gets before those of the user."""
        self._before = before
        super().__init__(relay, conn, codec, lender, unsent)

    def on_end(self, taken: int) -> None:
        """Pass on the end of the target's direction."""
        self._told = taken
        super().on_end(taken)

    def on_reset_after_end(self) -> None:
        """Pass on the reset of this target; that of the previous user has crossed their end."""
        if self._end_received:
            self.on_reset()

    def on_free(self) -> None:
        """Give the connection back when the user has taken everything. Raises TransportError if that is too early."""
        if self._freed or not (self._end_sent and self._end_received) or self.blocked:
            raise TransportError("a connection was given back while its user was on it")
        self._freed = True
        self._due = not self._consumer

    @property
    def _clean(self) -> bool:
        return super()._clean and not self.blocked and self._lender.wanted

    def _end_user(self) -> None:
        sent = self._before + (self._consumer.taken if self._consumer else 0)
        self._send_end()
        self._due = self._freed or self._told == sent
        if not self._due and not self.broken:
            self._lender.ended(self)
