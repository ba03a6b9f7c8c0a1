"""The public end of transport udp: one UDP socket for all tunnels, each an address that the client announced."""

import asyncio
import hmac
import logging
import math
import socket
from collections.abc import Callable

from backhaul.relay.datagrams import Address, DatagramSocket, Tally
from backhaul.relay.flows import Flow
from backhaul.relay.pair import Relay
from backhaul.relay.poller import release
from backhaul.wire.announcements import PING, announces, assign, read_announcement
from backhaul.wire.datagrams import Batch
from backhaul.wire.signals import Signal

from .base import GateEvents, ServerEvents, ServerSettings, User
from .raw_server import RawGate
from .sockets import bind_datagrams

log = logging.getLogger("backhaul.tunnel")

# A tunnel through which a user has sent for this long without a sign of life from the client leads nowhere: the
# client's address has changed, or the client is another by now. One of ours announces itself every 5 s.
SIGN_OF_LIFE = 10.0


class UdpServer:
    """Idle tunnels in the order in which they were announced, the oldest is used first."""

    def __init__(
        self, settings: ServerSettings, events: ServerEvents, relay: Relay, make_gate: Callable[[GateEvents], RawGate]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._token = settings.token.encode()
        self._events = events
        self._relay = relay
        self._gate = make_gate(self)
        self._by_address: dict[Address, _Tunnel] = {}
        self._by_name: dict[bytes, _Tunnel] = {}  # those of a client of ours
        self._idle: dict[_Tunnel, None] = {}
        self._socket: DatagramSocket | None = None
        self.dropped = 0  # idle tunnels beyond channel_size

    @property
    def connected(self) -> bool:
        """Whether a control channel is open."""
        return self._gate.connected

    @property
    def rtt(self) -> float:
        """Seconds of a round trip to the client, 0 if not measured."""
        return self._gate.rtt

    @property
    def idle(self) -> int:
        """How many tunnels wait for a flow."""
        return len(self._idle)

    def start(self) -> None:
        """Listen for the control channel and, on the same port, for tunnels; raises OSError."""
        sock = bind_datagrams(self._settings.bind_host, self._settings.bind_port)
        try:
            self._gate.start()
        except OSError:
            sock.close()
            raise
        self._socket = DatagramSocket(self._relay.poller, sock, self._received, Tally())

    def expect_user(self, waiting: int) -> None:
        """Ask for the tunnel that will replace the one this flow takes."""
        del waiting
        self._gate.send(Signal.CHANNEL)

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one; with the heart beat, ping the idle tunnels."""
        self._gate.send(signal)
        if signal == Signal.HEARTBEAT:
            for tunnel in self._idle:
                self.transmit([PING], tunnel.address)

    def carry(self, user: User) -> bool:
        """Return False: streams do not travel over this transport."""
        del user
        return False

    def carry_flow(self, flow: Flow) -> bool:
        """Assign the tunnel that has been idle for longest; False if none is."""
        if not self._idle:
            return False
        tunnel = next(iter(self._idle))
        del self._idle[tunnel]
        tunnel.take(flow, self._gate.ticket)
        return True

    def stop_listening(self) -> None:
        """Take no more tunnels; flows end with the socket that they share."""
        self._gate.stop_listening()
        if self._socket:
            self._socket.close()
            self._socket = None

    def control_opened(self, peer: str) -> None:
        """Tell the control plane."""
        self._events.control_opened(peer)

    def control_lost(self, reason: str) -> None:
        """Forget the idle tunnels, which the client closes too, and tell the control plane."""
        for tunnel in list(self._idle):
            self.forget(tunnel)
        self._events.control_lost(reason)

    def tunnel_opened(self, sock: socket.socket, rest: bytes = b"", *, ours: bool) -> None:
        """No tunnel is a TCP connection: this is a client that came back, and the gate shall hear it out."""
        if ours:
            release(self._relay.poller, sock)
        else:
            self._gate.regreet(sock, rest)

    def transmit(self, batch: Batch, address: Address) -> None:
        """Send to the client."""
        if self._socket:
            self._socket.send(batch, address)

    def replace(self, tunnel: "_Tunnel", flow: Flow) -> None:
        """Move a flow whose tunnel leads nowhere to another one, if one is idle."""
        if self._idle:
            log.debug("no sign of life from tunnel %s: its flow moves to another", tunnel.address)
            self._gate.send(Signal.CHANNEL)
            self.carry_flow(flow)

    def forget(self, tunnel: "_Tunnel") -> None:
        """A tunnel is no more."""
        self._idle.pop(tunnel, None)
        self._by_address.pop(tunnel.address, None)
        self._by_name.pop(tunnel.name, None)

    def _received(self, batch: Batch, address: Address) -> None:
        tunnel = self._by_address.get(address)
        if tunnel and tunnel.flow:
            tunnel.received(batch)
        elif self._gate.connected:
            for datagram in batch:
                self._introduced(datagram, address)

    def _introduced(self, datagram: bytes | memoryview, address: Address) -> None:
        """Hear who is at an address without a flow; strangers get no answer."""
        if announcement := read_announcement(self._gate.ticket, datagram):
            self.announced(announcement.tunnel, address, assigned=announcement.assigned)
        elif hmac.compare_digest(datagram, self._token) and address not in self._by_address:
            self._add(_Tunnel(self, b"", address))

    def announced(self, name: bytes, address: Address, *, assigned: bool) -> None:
        """A tunnel of a client of ours lives at this address."""
        tunnel = self._by_name.get(name)
        if tunnel:
            tunnel.alive(confirmed=assigned)
            self._move(tunnel, address)
        elif not assigned:  # else its flow has ended here already
            if before := self._by_address.get(address):
                before.end()
            self._add(_Tunnel(self, name, address))

    def read_announcement(self, datagram: bytes | memoryview) -> tuple[bytes, bool] | None:
        """Return name and state of the tunnel that `datagram` announces."""
        return read_announcement(self._gate.ticket, datagram)

    def _move(self, tunnel: "_Tunnel", address: Address) -> None:
        if tunnel.address != address:
            log.debug("tunnel %s has moved to %s", tunnel.address, address)
            if before := self._by_address.get(address):
                before.end()
            del self._by_address[tunnel.address]
            tunnel.address = address
            self._by_address[address] = tunnel

    def _add(self, tunnel: "_Tunnel") -> None:
        if len(self._idle) >= self._settings.channel_size:
            self.dropped += 1
            return
        self._by_address[tunnel.address] = tunnel
        if tunnel.name:
            self._by_name[tunnel.name] = tunnel
        self._idle[tunnel] = None
        self._events.carrier_ready()


class _Tunnel:
    """An address of the client; once a flow has taken it, the flow's far end."""

    __slots__ = ("_assignment", "_loop", "_owner", "_unanswered", "address", "flow", "name")

    def __init__(self, owner: UdpServer, name: bytes, address: Address) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._assignment = b""  # said again before every batch until it is confirmed
        # Since when the user's datagrams have gone without a sign of life. A fresh tunnel is not given up before
        # the first one: a flow that nobody ever answers moves once at most.
        self._unanswered = math.inf
        self.name = name  # empty if the client is v0.7.2
        self.address = address
        self.flow: Flow | None = None
