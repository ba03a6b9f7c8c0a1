"""A tunnel connection of transport tcp: silent until the target is announced, then raw bytes both ways."""

import logging
import socket
import time
from typing import TYPE_CHECKING, Final

from backhaul.net.closing import release
from backhaul.net.poller import Poller
from backhaul.net.sockets import expect_outages
from backhaul.net.udp import Counters
from backhaul.relay.datagrams_over_tcp import DatagramStream, Join
from backhaul.relay.flows import Flow, connect_flow
from backhaul.relay.outcome import Done, Ending
from backhaul.relay.pair import End, join_sockets
from backhaul.relay.rated import pair_of
from backhaul.relay.traffic import Traffic
from backhaul.transports.connection import Connection
from backhaul.transports.user import User
from backhaul.wire.datagrams import Batch, DelayEstimator, Splitter, join, join_stamped
from backhaul.wire.frames import Frame, FrameKindError, FrameReader, FrameTooLongError, encode
from backhaul.wire.peer import Feature
from backhaul.wire.signals import Signal
from backhaul.wire.targets import MAX_TARGET

from .dedicated_client import IdleOwner
from .dedicated_server import CarrierOwner
from .idle import SilentConnection

if TYPE_CHECKING:
    from .resources import RawResources

log = logging.getLogger("backhaul.tunnel")

_TARGETS: Final = frozenset({Signal.TCP, Signal.UDP})
V072_LARGEST: Final = (1 << 14) - 6  # bytes of a datagram: v0.7.2 has 16 KiB for it, timestamp and length


class RawIdle(SilentConnection):
    """An idle connection on the public end."""

    __slots__ = ("_owner",)
    _relay: "RawResources"
    takes_flows = True

    def __init__(self, relay: "RawResources", connection: Connection, owner: CarrierOwner) -> None:
        super().__init__(relay, connection)
        self._owner = owner
        if connection.received:  # v0.7.2 sends nothing, so this is not a tunnel connection
            self._refuse()

    def attach(self, user: User) -> bool:
        """Announce the target and join both; the user's first bytes leave together with the announcement."""
        if not self._alive():
            return False
        user.take_early()
        try:
            rest = self._announce(encode(Signal.TCP, user.target.encode()) + user.preface + user.early)
        except OSError:
            return False
        near, far = End(user.sock, half_close=True), End(self._sock, self.peer.supports(Feature.HALF_CLOSE))
        pair = join_sockets(
            self._relay,
            near,
            far,
            user.traffic,
            preface=rest,
            sent_before=len(user.early),
            done=user.done,
            owner=self._owner,
            kind=pair_of(user.traffic),
        )
        if user.reset:
            pair.end(Ending.RESET_BY_USER)
        return True

    def attach_flow(self, flow: Flow) -> bool:
        """Announce the target and become the flow's far end."""
        if not self._alive():
            return False
        try:
            rest = self._announce(encode(Signal.UDP, flow.target.encode()))
        except OSError:
            return False
        tunnel, rtt = Connection(self._sock, self.peer), self._owner.session.rtt
        carry_flow(self._relay.poller, tunnel, flow, unsent=rest, rtt=rtt)
        return True

    def ping(self) -> None:
        """Do nothing: an idle connection of this transport is silent; the kernel keeps it alive."""

    def _received(self, data: bytes) -> None:
        self._relay.poller.ignore_readable(self._sock)
        self._owner.carrier_spoke(self, self._sock, data)

    def _gone(self) -> None:
        self._owner.carrier_gone(self)


def carry_flow(poller: Poller, tunnel: Connection, flow: Flow, *, unsent: bytes, rtt: float) -> None:
    """Make the connection the far end of a flow, whose target has been announced but for ``unsent``.

    ``rtt`` is the round-trip time of the session in seconds.
    """
    framing = join if tunnel.peer.supports(Feature.DATAGRAMS) else _fitting(join, flow.counters)
    judge, splitter = DelayEstimator(round(rtt * 1000)), Splitter(stamped=True)
    stream = DatagramStream(poller, tunnel.sock, framing, splitter, flow.counters, judge=judge, room=flow.room)
    stream.start(flow.from_far, flow.close, unsent=unsent)
    flow.attach(stream)


class RawIdleConnection(SilentConnection):
    """An idle connection on the client."""

    __slots__ = ("_owner", "_reader")
    _relay: "RawResources"

    def __init__(self, relay: "RawResources", connection: Connection, owner: IdleOwner) -> None:
        super().__init__(relay, connection)
        self._owner = owner
        self._reader: FrameReader | None = None

    def _received(self, data: bytes) -> None:
        self._reader = self._reader or FrameReader(MAX_TARGET, _TARGETS)
        try:
            frame = self._reader.feed(data)
        except (FrameKindError, FrameTooLongError) as error:
            self._complain(str(error))
        else:
            if frame:
                self._addressed(frame)

    def _addressed(self, frame: Frame) -> None:
        """Pass the connection on to be joined with the target."""
        self._relay.poller.ignore_readable(self._sock)
        expect_outages(self._sock)
        target = frame.body.decode("utf-8", "replace")
        if frame.kind == Signal.UDP:
            connection = Connection(self._sock, self.peer, frame.rest)
            self._owner.addressed(self, RawFlowArrival(self._relay, connection, target, self._owner))
        else:
            end = End(self._sock, self.peer.supports(Feature.HALF_CLOSE))
            self._owner.addressed(self, RawArrival(self._relay, end, target, frame.rest, self._owner))

    def _complain(self, what: str) -> None:
        what = f"{what}; both ends need the same transport"
        self._relay.complaints.warn("header", f"dropped a tunnel connection: {what}")
        self._owner.fit.mismatched(what)
        self._give_up()

    def _gone(self) -> None:
        self._owner.addressed(self, None)


class RawArrival:
    """A user on a tunnel connection of its own; owns the connection until it is joined or refused."""

    __slots__ = ("_end", "_owner", "_relay", "_rest", "target")
    datagrams = False

    def __init__(self, relay: "RawResources", end: End, target: str, rest: bytes, owner: IdleOwner) -> None:
        self._relay = relay
        self._owner = owner
        self._end = end
        self._rest = rest
        self.target = target

    def join(self, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        """Join it with the target; bytes that arrived early go first."""
        rest, target = self._rest, End(sock, half_close=True)
        join_sockets(
            self._relay,
            self._end,
            target,
            traffic,
            preface=rest,
            sent_before=len(rest),
            done=done,
            owner=self._owner,
        )

    def refuse(self, *, reset: bool) -> None:
        """Close the connection."""
        release(self._relay.poller, self._end.sock, reset=reset)


class RawFlowArrival:
    """A user's datagrams on a tunnel connection of their own; owns the connection until it is joined or refused."""

    __slots__ = ("_connection", "_owner", "_relay", "target")
    datagrams = True

    def __init__(self, relay: "RawResources", connection: Connection, target: str, owner: IdleOwner) -> None:
        self._relay = relay
        self._owner = owner
        self._connection = connection
        self.target = target

    def join(self, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        """Join it with the target; datagrams that arrived early go first."""
        flows, tunnel = self._relay.flows, self._connection
        framing = _stamp if tunnel.peer.supports(Feature.DATAGRAMS) else _fitting(_stamp, flows.counters)
        poller, splitter = self._relay.poller, Splitter(stamped=False)
        stream = DatagramStream(poller, tunnel.sock, framing, splitter, flows.counters, room=flows.room.of(self._owner))
        flow = Flow(flows, stream, self.target, traffic, flows.counters, done=done)
        connect_flow(self._relay.poller, flow, sock)
        stream.start(flow.from_near, flow.close, tunnel.received)

    def refuse(self, *, reset: bool) -> None:
        """Close the connection."""
        release(self._relay.poller, self._connection.sock, reset=reset)


def _stamp(batch: Batch) -> bytes:
    return join_stamped(batch, int(time.time() * 1000))


def _fitting(framing: Join, counters: Counters) -> Join:
    """Return ``framing`` for a v0.7.2 peer, without the datagrams that are too large for its buffer."""

    def frame(batch: Batch) -> bytes:
        fitting = [datagram for datagram in batch if len(datagram) <= V072_LARGEST]
        counters.dropped += len(batch) - len(fitting)
        return framing(fitting)

    return frame
