"""The UDP side of local ports: each sending address is a user with a flow."""

import asyncio
import logging
from typing import TYPE_CHECKING

from backhaul.addresses import plain_ip
from backhaul.failures import network_of
from backhaul.net.deadlines import Deadlines
from backhaul.net.endpoints import Address, peer_of
from backhaul.net.listeners import Listeners
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import Poller
from backhaul.net.udp import DatagramSocket
from backhaul.relay.flows import Flow, Refusal
from backhaul.relay.rated import flow_of
from backhaul.reports import UserEnd
from backhaul.state import UserState
from backhaul.transports.public_end import Carry, ServerTransport
from backhaul.transports.session import dial_time
from backhaul.wire.datagrams import Batch

from .news import News
from .outcomes import Outcomes, name
from .places import Places, Room
from .port import Port
from .refusals import refused
from .timings import Timings
from .wait_limit import WaitLimit
from .waiting_flows import WaitingFlows

if TYPE_CHECKING:
    from collections.abc import Callable

    from .limiting import Limiting  # which ends flows, too
    from .resources import FlowResources

log = logging.getLogger("backhaul.server")

REFUSED_FOR = 10.0  # seconds until another attempt to carry a flow that the client refused


class FlowDispatcher:
    """Makes flows of datagrams received on the ports, and finds carriers for them."""

    def __init__(
        self,
        relay: "FlowResources",
        transport: ServerTransport,
        listeners: Listeners,
        outcomes: Outcomes,
        *,
        limiting: "Limiting",
        places: Places,
        news: News,
        most_waiting: int,
        timings: Timings,
    ) -> None:
        self.relay = relay
        self.outcomes = outcomes
        self.limiting = limiting
        self._places = places
        self._news = news
        self.transport = transport
        self.listeners = listeners
        wait = WaitLimit(timings.flow_patience, timings.longest_wait, lambda: dial_time(self.transport.session))
        self._waiting = WaitingFlows(most_waiting, wait, self._give_up)
        self._refused: Deadlines[Flow] = Deadlines(REFUSED_FOR, Flow.close)
        self.offline = False
        """True while datagrams of new users are dropped, for lack of a client or because the tunnel is drained."""
        self._throttle = LogThrottle(log)

    @property
    def waiting(self) -> int:
        """The number of flows without a carrier."""
        return len(self._waiting)

    def set_most_waiting(self, limit: int) -> None:
        """Set the limit of waiting flows."""
        self._waiting.limit = limit

    def listen(self, port: Port) -> "UdpListener":
        """Open the port for datagrams; raise OSError if that fails."""
        return UdpListener(self.relay.poller, self.listeners, port, self._take)

    def _take(self, listener: "UdpListener", address: Address, batch: Batch) -> None:
        self.take(listener, address, batch, self._places)

    def take(self, listener: "UdpListener", address: Address, batch: Batch, room: Room) -> None:
        """Begin a flow with the first datagrams of a user, who gets a place in ``room`` unless a limit objects."""
        port, peer = listener.port, peer_of(address)
        source = network_of(plain_ip(peer))
        if not self.admits(source) or self._objects(port, peer, room):
            port.udp.dropped += len(batch)
            return
        user, target = UdpUser(self, listener, address, room), port.mapping.target
        traffic = self.limiting.rates.traffic(port, peer, room.client)
        make = flow_of(traffic)
        flow = make(self.relay.flows, user, target, traffic, port.udp, source=source, owner=self.transport)
        listener.flows[address] = flow
        flow.from_near(batch)
        room.enter()
        self._find_carrier(flow)

    def client_came(self) -> None:
        """Announce the waiting flows to a newly connected client, which may accept flows refused before."""
        for flow in self._refused.clear():
            flow.close()
        for waiting in range(1, len(self._waiting) + 1):
            self.transport.expect_user(waiting)

    def carrier_ready(self) -> None:
        """Carry waiting flows, oldest first, each source in turn."""
        while len(self._waiting):
            flow = self._waiting.next()
            outcome = self.transport.assign_flow(flow)
            if outcome is Carry.LATER:
                return
            self._waiting.served(flow)
            if outcome is Carry.REFUSED:
                self._refuse(flow)

    def _find_carrier(self, flow: Flow) -> None:
        """Find a carrier for a new flow, or let it wait."""
        outcome = Carry.LATER if len(self._waiting) else self.transport.assign_flow(flow)
        if outcome is Carry.REFUSED:
            self._refuse(flow)
            return
        self.transport.expect_user(len(self._waiting) + 1)
        if outcome is Carry.LATER:
            self._waiting.add(flow)

    def flow_closed(self, user: "UdpUser", flow: Flow) -> None:
        """Forget a closed flow."""
        user.room.leave()
        self._waiting.discard(flow)
        self._refused.discard(flow)
        if self.outcomes.report:
            self.outcomes.report(user.end(flow, asyncio.get_running_loop().time()))

    def admits(self, source: str) -> bool:
        """Return whether a new flow of this source may wait: not without a client, or among too many others."""
        if self.offline:
            return False
        if self._waiting.admits(source):
            return True
        self._throttle.warn("full", f"datagrams of new users: dropped, {len(self._waiting)} flows wait already")
        return False

    def _objects(self, port: Port, peer: tuple[str, int], room: Room) -> bool:
        """Return whether a limit refuses a new user; otherwise the user is counted."""
        objection = self.limiting.objection(port, peer, room)
        if objection:
            refused(self._throttle, port, peer, objection, self._news)
        return objection is not None

    def _refuse(self, flow: Flow) -> None:
        """Keep a refused flow for a while, so that its next datagrams cost only a look-up."""
        self._throttle.warn(
            ("refused", flow.target),
            f"target {flow.target}: UDP users refused, because v0.7.2 does not support them on this transport;"
            " run this program on both ends, or use transport tcp or udp",
        )
        self._refused.add(flow)
        flow.attach(Refusal(flow.counters))

    def _give_up(self, flow: Flow) -> None:
        """Close a flow that has waited too long, unless it can be carried now, or is refused by the client."""
        outcome = self.transport.assign_flow(flow)
        if outcome is Carry.REFUSED:
            self._refuse(flow)
        if outcome is not Carry.LATER:
            self.carrier_ready()
            return
        why = "no free tunnel connection" if self.transport.session.connected else "no client is connected"
        waited = asyncio.get_running_loop().time() - flow.since
        self._throttle.warn(why, f"UDP flow of {flow.near}, target {flow.target}: closed after {waited:.2g} s: {why}")
        flow.close()


class UdpListener:
    """Owns the UDP socket of one local port and the flows of its users."""

    def __init__(
        self,
        poller: Poller,
        listeners: Listeners,
        port: Port,
        begin: "Callable[[UdpListener, Address, Batch], None]",
    ) -> None:
        """Call ``begin`` with the first datagrams of a user; raises OSError if the port can't be opened."""
        sock = listeners.datagrams(port.mapping.bind_host, port.mapping.bind_port)
        self._begin = begin
        self.port = port
        self.flows: dict[Address, Flow] = {}
        self.loose: dict[Address, Flow] = {}
        """Flows that may begin again with the next datagram of their user."""
        self.socket = DatagramSocket(poller, sock, self._received, port.udp)

    def close(self) -> None:
        """Close the socket and its flows."""
        for flow in [*self.flows.values(), *self.loose.values()]:
            flow.close()
        self.socket.close()

    def loosen(self, room: Room) -> None:
        """Ask ``begin`` again before the next datagram of each user with a place in ``room``."""
        for address, flow in list(self.flows.items()):
            if room_of(flow) is room:
                self.loose[address] = self.flows.pop(address)

    def tighten(self, address: Address) -> None:
        """Leave the flow of this address where it is, after ``loosen``."""
        self.flows[address] = self.loose.pop(address)

    def forget(self, address: Address) -> Flow:
        """Forget the flow of this address, which has closed, and return it."""
        return (self.flows if address in self.flows else self.loose).pop(address)

    def _received(self, batch: Batch, address: Address) -> None:
        flow = self.flows.get(address)
        if flow:
            flow.from_near(batch)
        else:
            self._begin(self, address, batch)


def room_of(flow: Flow) -> Room | None:
    """Return the place of a flow's user; None for a flow of another end."""
    return flow.near.room if isinstance(flow.near, UdpUser) else None


class UdpUser:
    """The near end of a flow: the user with an address."""

    __slots__ = ("_address", "_dispatcher", "_expired", "_listener", "_transport", "counted", "room")

    def __init__(self, dispatcher: FlowDispatcher, listener: UdpListener, address: Address, room: Room) -> None:
        self._dispatcher = dispatcher
        self._listener = listener
        self.room = room
        self._address = address
        self._transport = dispatcher.outcomes.transport  # a reload leaves the flow where it is
        self._expired = False
        self.counted = 0  # bytes that quotas have seen

    def state(self, flow: Flow, now: float) -> UserState:
        """Return the state of this user, whose flow is ``flow``."""
        peer, mapping = peer_of(self._address), self._listener.port.mapping
        progress = flow.progress()
        return UserState(
            number=flow.number,
            datagrams=True,
            age=now - flow.since,
            host=plain_ip(peer),
            port=peer[1],
            bind_host=mapping.bind_host,
            bind_port=mapping.bind_port,
            client=self._dispatcher.outcomes.client,
            target=flow.target,
            transport=self._transport,
            stream=progress.stream,
            phase=progress.phase,
            received=progress.received,
            sent=progress.sent,
        )

    @property
    def bind_port(self) -> int:
        """The local port."""
        return self._listener.port.mapping.bind_port

    @property
    def client(self) -> str:
        """The name of the client."""
        return self._dispatcher.outcomes.places.client

    @property
    def ip(self) -> str:
        """The address without a port."""
        return plain_ip(peer_of(self._address))

    def expire(self, flow: Flow) -> None:
        """Close the flow because of a limit."""
        self._expired = True
        flow.close()

    def end(self, flow: Flow, now: float) -> UserEnd:
        """Return the end of this user for the access log."""
        peer = peer_of(self._address)
        return UserEnd(
            "",
            flow.number,
            "udp",
            plain_ip(peer),
            peer[1],
            self._listener.port.label,
            self._dispatcher.outcomes.client,
            flow.target,
            flow.received,
            flow.sent,
            round(now - flow.since, 3),
            "limit" if self._expired else flow.ending(now),
        )

    def __str__(self) -> str:
        return f"user {name(peer_of(self._address))} of port {self._listener.port.name}"

    def send(self, batch: Batch) -> None:
        """Send datagrams of the target to the user."""
        self._listener.socket.send(batch, self._address)

    def close(self) -> None:
        """End the flow of this user."""
        flow = self._listener.forget(self._address)
        self._dispatcher.limiting.left(self, flow.received + flow.sent)
        self._dispatcher.flow_closed(self, flow)
