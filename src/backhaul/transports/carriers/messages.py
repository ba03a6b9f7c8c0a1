"""Users on connections with framed messages: the common part of ws and wss, and of tcp with sealed payload."""

import functools
import socket
from abc import abstractmethod
from collections.abc import Callable, Hashable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from backhaul.errors import TransportError
from backhaul.relay.codec import MAX_PONGS, Codec, LentCodec
from backhaul.relay.datagrams_in_channel import DatagramChannel
from backhaul.relay.flows import Flow, connect_flow
from backhaul.relay.framed import FramedRelay
from backhaul.relay.lent_channel import ClientChannel, LentChannel
from backhaul.relay.message_channel import MessageChannel
from backhaul.relay.outcome import Done
from backhaul.relay.rated import kind_of
from backhaul.relay.traffic import Traffic
from backhaul.transports.connection import Connection
from backhaul.transports.user import User

from .dedicated_client import IdleOwner
from .dedicated_server import CarrierOwner
from .idle import SilentConnection

if TYPE_CHECKING:
    from .resources import MessageResources


class MessageIdle(SilentConnection):
    """An idle connection on the public end. One that is reused lends itself to its users."""

    __slots__ = ("_opened", "_owner", "_users")
    _relay: "MessageResources"
    joint: type[FramedRelay] = FramedRelay

    def __init__(self, relay: "MessageResources", connection: Connection, owner: CarrierOwner) -> None:
        super().__init__(relay, connection)
        self._owner = owner
        self._opened = relay.loop.time()
        self._users = 0

    @property
    def owner(self) -> Hashable:
        """The transport that it belongs to."""
        return self._owner

    @property
    def wanted(self) -> bool:
        """True if it may serve another user."""
        return self._owner.carrier_wanted(self, self._users, self._opened)

    def ended(self, channel: LentChannel) -> None:
        """Let the channel wait for the client."""
        self._owner.returning.add(channel)

    def returned(self, channel: LentChannel, rest: bytes) -> None:
        """Be idle again. The client sends nothing until the next user comes."""
        del rest
        self._owner.returning.discard(channel)
        self._rest()
        self._owner.carrier_free(self)

    def lost(self, channel: LentChannel) -> None:
        """Tell the owner that the connection is closed."""
        self._owner.returning.discard(channel)
        self._gone()

    def attach(self, user: User) -> bool:
        """Announce the target and join both; the user's first bytes leave together with the announcement."""
        if not self._alive():
            return False
        user.take_early()
        first = user.preface + user.early
        data = self._for_user(user.target) + (self._message(first) if first else b"")
        try:
            channel = self._user_channel(self._announce(data), len(user.preface))
        except OSError:
            return False
        self._users += 1
        kind = kind_of(self.joint, user.traffic)
        joined = kind(self._relay, channel, user.sock, user.traffic, user.done, towards_user=True)
        channel.start(joined)
        joined.start(sent_before=len(user.early))
        if user.reset:
            joined.sock_reset()
        return True

    def attach_flow(self, flow: Flow) -> bool:
        """Announce the target and become the flow's far end."""
        if not self._alive():
            return False
        try:
            channel = self._channel(self._announce(self._for_flow(flow.target)))
        except OSError:
            return False
        channel.expect_datagrams()
        consumer = DatagramChannel(channel, flow.counters, flow.room)
        consumer.start(flow.from_far, flow.close)
        channel.start(consumer)
        flow.attach(consumer)
        return True

    @property
    @abstractmethod
    def takes_flows(self) -> bool:
        """True if the other end can carry flows on this transport."""

    @abstractmethod
    def ping(self) -> None:
        """Keep middleboxes on the way from forgetting the connection."""

    @abstractmethod
    def _for_user(self, target: str) -> bytes:
        """Return the announcement of a user's target."""

    @abstractmethod
    def _for_flow(self, target: str) -> bytes:
        """Return the announcement of a target of datagrams."""

    @abstractmethod
    def _message(self, data: bytes) -> bytes:
        """Return a message with a user's first bytes."""

    @abstractmethod
    def _codec(self) -> Codec:
        """Return the codec for the bytes after those."""

    def _channel(self, unsent: bytes) -> MessageChannel:
        return MessageChannel(self._relay, self._sock, self._codec(), unsent, owner=self._owner)

    def _user_channel(self, unsent: bytes, before: int) -> MessageChannel:
        """Return the channel of a user, whose target gets ``before`` bytes before those of the user."""
        del before
        return self._channel(unsent)

    def _gone(self) -> None:
        self._owner.carrier_gone(self)


class LentConnection(SilentConnection):
    """A connection on the client that lends itself to its users if it is reused."""

    __slots__ = ("_owner",)
    _relay: "MessageResources"

    def __init__(self, relay: "MessageResources", connection: Connection, owner: IdleOwner) -> None:
        super().__init__(relay, connection)
        self._owner = owner

    @property
    def owner(self) -> Hashable:
        """The transport that it belongs to."""
        return self._owner

    def returned(self, channel: LentChannel, rest: bytes) -> None:
        """Be idle again, unless the next user has arrived already, whose bytes begin with ``rest``."""
        del channel
        self._rest()
        self._owner.carrier_free(self)
        if rest:
            self._received(rest)

    def lost(self, channel: LentChannel) -> None:
        """Tell the owner that the connection is closed."""
        del channel
        self._owner.carrier_lost(self)

    def _single(self, codec: Codec) -> "MakeChannel":
        """Return the maker of a channel after which the connection is closed."""
        return functools.partial(MessageChannel, self._relay, self._sock, codec, owner=self._owner)

    def _lent(self, codec: LentCodec) -> "MakeChannel":
        """Return the maker of a channel after which the connection may be idle again."""
        return functools.partial(ClientChannel, self._relay, self._sock, codec, self)


MakeChannel = Callable[[bytes], MessageChannel]
"""Makes a channel, with the rest of a message that has been sent in part."""


class ClosedError(TransportError):
    """The other end has sent a close frame, or is gone."""


class _Sending(Enum):
    """The state of the user's direction before its target is reached."""

    OPEN = auto()
    ENDED = auto()
    RESET = auto()


_OPEN: Final = _Sending.OPEN  # globals, because in Python 3.11 a member of an enum takes seven times as long
_ENDED: Final = _Sending.ENDED
_RESET: Final = _Sending.RESET


class MessageArrival:
    """A user, or a user's datagrams, on a tunnel connection of its own.

    Owns the connection until it is joined or refused, and takes the events of its codec until then.
    """

    __slots__ = ("_joint", "_kept", "_make", "_relay", "_sending", "_unsent", "datagrams", "target")

    def __init__(
        self,
        relay: "MessageResources",
        codec: Codec,
        make: MakeChannel,
        target: str,
        unsent: bytes = b"",
        *,
        joint: type[FramedRelay] = FramedRelay,
        datagrams: bool,
    ) -> None:
        """``make`` returns the channel, which a ``joint`` joins with the target.

        ``unsent`` is the rest of a message that has been sent in part.
        """
        self._joint = joint
        self._relay = relay
        self._make = make
        self._kept = bytearray()  # bytes of the user that have arrived
        self._sending = _OPEN
        self._unsent = unsent
        self.datagrams = datagrams
        self.target = target
        codec.events = self

    def on_payload(self, piece: memoryview) -> None:
        """Keep the user's bytes. Raises TransportError after the end of the direction."""
        if self._sending is not _OPEN:
            raise TransportError("data after the end of a direction")
        self._kept += piece

    def on_end(self, taken: int) -> None:
        """Note the end of the user's direction. Raises TransportError at a second one."""
        del taken
        if self._sending is not _OPEN:
            raise TransportError("a second end of a direction")
        self._sending = _ENDED

    def on_reset(self) -> None:
        """Note the user's reset."""
        self._sending = _RESET

    def on_reset_after_end(self) -> None:
        """Note the user's reset."""
        self.on_reset()

    def on_ping(self, answer: bytes) -> None:
        """Keep the answer, which leaves before anything else."""
        if len(self._unsent) < MAX_PONGS:
            self._unsent += answer

    def on_close(self, answer: bytes) -> None:
        """End the connection, whose user is gone already."""
        del answer
        raise ClosedError

    def on_free(self) -> None:
        """Refuse a message that only the client sends."""
        raise TransportError("the server has sent what only a client sends")

    def join(self, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        """Join it with the target; bytes that arrived early go first."""
        channel = self._make(self._unsent)
        if self.datagrams:
            self._join_flow(channel, sock, traffic, done)
            return
        joined = self._joint(self._relay, channel, sock, traffic, done, towards_user=False)
        ended = self._sending is _ENDED
        channel.start(joined, unread=len(self._kept), ended=ended)
        joined.start(bytes(self._kept), ended=ended)
        if self._sending is _RESET:
            joined.on_reset()

    def refuse(self, *, reset: bool) -> None:
        """Close the connection, cleanly or with a reset."""
        self._make(self._unsent).drop(reset=reset)

    def _join_flow(self, channel: MessageChannel, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        flows = self._relay.flows
        channel.expect_datagrams()
        consumer = DatagramChannel(channel, flows.counters, flows.room.of(channel.owner))
        flow = Flow(flows, consumer, self.target, traffic, flows.counters, done=done)
        connect_flow(self._relay.poller, flow, sock)
        channel.start(consumer, unread=len(self._kept))
        consumer.start(flow.from_near, flow.close, bytes(self._kept))
        if self._sending is not _OPEN:
            flow.close()
