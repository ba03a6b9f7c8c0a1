"""The local ports as users reach them over UDP: who sends is a user, each address a flow."""

import logging

from backhaul.addresses import plain_ip
from backhaul.failures import network_of
from backhaul.net.deadlines import Deadlines
from backhaul.net.endpoints import Address, peer_of
from backhaul.net.listeners import Listeners
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.udp import DatagramSocket
from backhaul.relay.engine import Relay
from backhaul.relay.flows import Flow, Refusal
from backhaul.transports.base import Carry, ServerTransport
from backhaul.wire.datagrams import Batch

from .outcomes import name
from .ports import Port
from .waiting_flows import WaitingFlows

log = logging.getLogger("backhaul.server")

FLOW_PATIENCE = 3.0  # seconds that a flow waits for a carrier, as a user of a stream does
REFUSED_FOR = 10.0  # seconds without another attempt to carry a flow that the client did not take


class FlowDispatcher:
    """Makes flows of what comes to the UDP ports, and finds carriers for them."""

    def __init__(self, relay: Relay, transport: ServerTransport, listeners: Listeners, most_waiting: int) -> None:
        self.relay = relay
        self.transport = transport
        self.listeners = listeners
        self._waiting = WaitingFlows(most_waiting, FLOW_PATIENCE, self._give_up)
        self._refused: Deadlines[Flow] = Deadlines(REFUSED_FOR, Flow.close)
        self.offline = False
        """Whether datagrams of new users are dropped, for want of a client."""
        self._throttle = LogThrottle(log)

    @property
    def waiting(self) -> int:
        """How many flows have no carrier."""
        return len(self._waiting)

    def set_most_waiting(self, limit: int) -> None:
        """Let at most so many flows wait from now on."""
        self._waiting.limit = limit

    def listen(self, port: Port) -> "UdpListener":
        """Open the port for datagrams; raises OSError."""
        return UdpListener(self, port)

    def client_came(self) -> None:
        """Announce the flows that wait to a client that has just connected, which may take those refused before."""
        for flow in self._refused.clear():
            flow.close()
        for waiting in range(1, len(self._waiting) + 1):
            self.transport.expect_user(waiting)

    def carrier_ready(self) -> None:
        """Carry flows that wait, oldest first, each source in its turn."""
        while len(self._waiting):
            flow = self._waiting.next()
            outcome = self.transport.carry_flow(flow)
            if outcome is Carry.LATER:
                return
            self._waiting.served(flow)
            if outcome is Carry.REFUSED:
                self._refuse(flow)

    def flow_came(self, flow: Flow) -> None:
        """Find a carrier, or wait for one."""
        outcome = Carry.LATER if len(self._waiting) else self.transport.carry_flow(flow)
        if outcome is Carry.REFUSED:
            self._refuse(flow)
            return
        self.transport.expect_user(len(self._waiting) + 1)
        if outcome is Carry.LATER:
            self._waiting.add(flow)

    def flow_closed(self, flow: Flow) -> None:
        """It waits no more."""
        self._waiting.discard(flow)
        self._refused.discard(flow)

    def admits(self, source: str) -> bool:
        """Whether a new flow of this source may wait: not in vain, for want of a client or with many others."""
        if self.offline:
            return False
        if self._waiting.admits(source):
            return True
        self._throttle.warn("full", f"dropped datagrams of new users: {len(self._waiting)} flows wait already")
        return False

    def _refuse(self, flow: Flow) -> None:
        """Remember that the client takes no flows: the next datagrams of this one cost a look-up."""
        self._throttle.warn(
            ("refused", flow.target),
            f"target {flow.target}: UDP users refused, because v0.7.2 takes none on this transport;"
            " run this program on both ends, or use transport tcp or udp",
        )
        self._refused.add(flow)
        flow.carry(Refusal(flow.counters))

    def _give_up(self, flow: Flow) -> None:
        """Close the flow, unless the client has turned out to take none in the meantime, this one or any."""
        outcome = self.transport.carry_flow(flow)
        if outcome is Carry.REFUSED:
            self._refuse(flow)
        if outcome is not Carry.LATER:
            self.carrier_ready()
            return
        why = "no free tunnel connection" if self.transport.connected else "no client is connected"
        self._throttle.warn(
            why, f"closed the flow of {flow.near}, target {flow.target}, after {FLOW_PATIENCE:g} s: {why}"
        )
        flow.close()


class UdpListener:
    """Owns the UDP socket of one local port and the flows of its users."""

    def __init__(self, desk: FlowDispatcher, port: Port) -> None:
        sock = desk.listeners.datagrams(port.mapping.bind_host, port.mapping.bind_port)
        self.desk = desk
        self.port = port
        self.flows: dict[Address, Flow] = {}
        self.socket = DatagramSocket(desk.relay.poller, sock, self._received, port.udp)

    def close(self) -> None:
        """Close the socket; flows can't go on without it."""
        for flow in list(self.flows.values()):
            flow.close()
        self.socket.close()

    def _received(self, batch: Batch, address: Address) -> None:
        flow = self.flows.get(address)
        if flow:
            flow.from_near(batch)
        else:
            self._open(address, network_of(plain_ip(peer_of(address))), batch)

    def _open(self, address: Address, source: str, batch: Batch) -> None:
        port = self.port
        if not self.desk.admits(source):
            port.udp.dropped += len(batch)
            return
        user, target = _User(self, address), port.mapping.target
        flow = Flow(self.desk.relay.flows, user, target, port.traffic, port.udp, source=source)
        self.flows[address] = flow
        flow.from_near(batch)
        self.desk.flow_came(flow)


class _User:
    """The near end of a flow: whoever sends from an address."""

    __slots__ = ("_address", "_listener")

    def __init__(self, listener: UdpListener, address: Address) -> None:
        self._listener = listener
        self._address = address

    def __str__(self) -> str:
        return f"user {name(peer_of(self._address))} of port {self._listener.port.name}"

    def send(self, batch: Batch) -> None:
        """See DatagramEnd."""
        self._listener.socket.send(batch, self._address)

    def close(self) -> None:
        """See DatagramEnd."""
        self._listener.desk.flow_closed(self._listener.flows.pop(self._address))
