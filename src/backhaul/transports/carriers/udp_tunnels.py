"""The tunnels of one client of transport udp on the public end."""

import asyncio
import itertools
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

from backhaul.net.endpoints import Address
from backhaul.relay.fit import Fit
from backhaul.relay.flows import Flow
from backhaul.transports.session import NO_CLIENT, ClientSession
from backhaul.wire.announcements import IDLE, PING, Announcement
from backhaul.wire.datagrams import Batch
from backhaul.wire.signals import Signal

from .udp_dialect import ServerDialect, V072Server
from .udp_silence import UdpSilence
from .udp_socket import TunnelSocket
from .udp_tunnel import Tunnel

if TYPE_CHECKING:
    from .resources import UdpTunnelResources

log = logging.getLogger("backhaul.tunnel")

ORDER_BITS: Final = 64
"""Bits of an announcement's number within one session."""


class TunnelEvents(Protocol):
    """Events of tunnels, for the transport of their client."""

    @property
    def fit(self) -> Fit:
        """The evidence of whether both ends run the same transport."""

    @property
    def most_idle(self) -> int:
        """The number of idle tunnels that are kept."""

    def tunnel_ready(self) -> None:
        """Carry waiting flows, because a tunnel is idle."""


class ClientTunnels:
    """Idle tunnels in the order of their last sign of life, of which the most recent one is used first, and the others.

    They outlive control channels, and a reload that replaces the transport.
    """

    _events: TunnelEvents

    def __init__(self, socket: TunnelSocket, relay: "UdpTunnelResources", client: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket
        self._announcers = socket.announcers
        self._relay = relay
        self._client = client
        self._session: ClientSession = NO_CLIENT
        self._instance = b""  # of the client
        self._doubtful: list[Tunnel] = []  # assigned, but perhaps closed by the client before it knew
        self._by_name: dict[bytes, Tunnel] = {}  # those of clients that name their tunnels
        self._idle: OrderedDict[Tunnel, None] = OrderedDict()
        self._pinging: asyncio.TimerHandle | None = None  # set while there is a v0.7.2 client
        self._serials = itertools.count(1)  # of sessions
        self._since = 0  # the order of the present session's first announcement
        self._dialect: ServerDialect = V072Server((), self, self._announcers)  # even without a control channel
        self._dialects: dict[int, ServerDialect] = {
            self._since: self._dialect
        }  # also of former sessions that may announce tunnels
        self._silence = UdpSilence(relay, lambda: self._events.fit)
        self.dropped = 0  # idle tunnels beyond the limit

    @property
    def idle(self) -> int:
        """The number of tunnels that wait for a flow."""
        return len(self._idle)

    def report_to(self, events: TunnelEvents) -> None:
        """Report to ``events`` from now on."""
        self._events = events

    def client_connected(self, session: ClientSession) -> None:
        """Expect the announcements of this session, and of former ones that may still arrive."""
        returned = session.peer.instance and session.peer.instance == self._instance
        for tunnel in self._socket.tunnels_of(self):
            if returned:
                tunnel.excuse()
            else:
                tunnel.distrust()
        self._doubtful = [tunnel for tunnel in self._by_name.values() if tunnel.flow]
        self._instance = session.peer.instance
        self._session = session
        self._leave_former()
        self._since = next(self._serials) << ORDER_BITS
        self._dialect = self._dialects[self._since] = self._dialect_of(session)
        self._silence.end()
        if session.keys:
            self._silence.begin()

    def drop_idle(self) -> None:
        """Forget the idle tunnels, because their control channel has ended."""
        self._session = NO_CLIENT
        self._silence.end()
        if self._pinging:
            self._pinging.cancel()
            self._pinging = None
        for tunnel in list(self._idle):
            self.forget(tunnel)

    def assign(self, flow: Flow) -> bool:
        """Assign the idle tunnel with the most recent sign of life; return False without one."""
        if not self._idle:
            return False
        self._take().assign(flow, self._dialect)
        return True

    def ping(self) -> None:
        """Ping the idle tunnels."""
        for tunnel in self._idle:
            self.transmit([PING], tunnel.address)

    def transmit(self, batch: Batch, address: Address) -> None:
        """Send to the client."""
        self._socket.transmit(batch, address)

    def replace(self, flow: Flow) -> Tunnel | None:
        """Move a flow from a tunnel that leads nowhere to another one, and return that; None if none is idle.

        When another transport has taken the place of this one, the flow ends: its user's next datagram begins another.
        """
        if self._socket.leaving:
            flow.close()
            return None
        if not self._idle:
            return None
        log.debug("no sign of life from a tunnel to %s: its flow moves to another", flow.target)
        self._session.send(Signal.CHANNEL)
        tunnel = self._take()
        tunnel.assign(flow, self._dialect, again=True)
        return tunnel

    def forget(self, tunnel: Tunnel) -> None:
        """Forget a closed tunnel."""
        self._idle.pop(tunnel, None)
        self._by_name.pop(tunnel.name, None)
        self._socket.forget(tunnel)

    def announced(self, announcement: Announcement, order: int, address: Address) -> None:
        """Note that a tunnel is at this address; an announcement of lower ``order`` may have been overtaken."""
        self._silence.heard()
        tunnel = self._by_name.get(announcement.tunnel)
        if not tunnel:
            # Any other number belongs to a flow that has ended here already.
            if announcement.number == IDLE and order >= self._since and self._session.connected:
                self._add(Tunnel(self, self._relay, announcement.tunnel, address, order))
        elif announcement.number not in {IDLE, tunnel.number}:  # the client serves a flow that had the tunnel before
            tunnel.end()
        else:
            self._still_there(tunnel, announcement, order, address)

    def announced_unnamed(self, address: Address) -> None:
        """Note that a v0.7.2 client has an idle tunnel at this address."""
        if self._session.connected and not self._session.keys and not self._socket.knows(self, address):
            self._add(Tunnel(self, self._relay, b"", address))

    def _leave_former(self) -> None:
        """Expect announcements no more of former sessions without flows, except the last one, which may be late.

        A client that was reloaded announces the flows of each of its former transports with the keys of that one.
        """
        heard = {tunnel.order >> ORDER_BITS << ORDER_BITS for tunnel in self._by_name.values() if tunnel.flow}
        for since in self._dialects.keys() - heard - {self._since}:
            self._announcers.leave(self._client, self._dialects.pop(since))

    def _dialect_of(self, session: ClientSession) -> ServerDialect:
        if not session.keys:
            dialect = V072Server(self._announcers.credentials.sizes, self, self._announcers)
            self._announcers.enter_token(self._client, dialect)
            self._ping_later()
            return dialect
        from .udp_protected import ProtectedServer  # noqa: PLC0415 - loads cryptography

        return ProtectedServer(
            session.keys,
            self._since,
            self,
            self._announcers,
            copies=self._relay.copies,
            enter_blocks=self._announcers.enter_blocks,
        )

    def _still_there(self, tunnel: Tunnel, announcement: Announcement, order: int, address: Address) -> None:
        tunnel.alive(confirmed=announcement.number != IDLE)
        if tunnel in self._idle:
            self._idle.move_to_end(tunnel)
        if order >= tunnel.order:
            tunnel.order = order
            self._move(tunnel, address)

    def _take(self) -> Tunnel:
        return self._idle.popitem()[0]

    def _add(self, tunnel: Tunnel) -> None:
        if not self._socket.settle(tunnel, tunnel.address):
            return
        if len(self._idle) >= self._events.most_idle:
            self.dropped += 1
            self.forget(next(iter(self._idle)))
        if tunnel.name:
            self._events.fit.proved()
            self._by_name[tunnel.name] = tunnel
        else:
            self._events.fit.seen()
        self._idle[tunnel] = None
        self._rescue()
        self._events.tunnel_ready()

    def _move(self, tunnel: Tunnel, address: Address) -> None:
        if tunnel.address != address and self._socket.settle(tunnel, address):
            log.debug("a tunnel has moved to another address")
            tunnel.send_again()

    def _rescue(self) -> None:
        """Move flows to idle tunnels: the client has closed theirs, unless it has confirmed them."""
        while self._doubtful and self._idle:
            self._doubtful.pop().leave()

    def _ping_later(self) -> None:
        self._pinging = self._loop.call_later(self._relay.patience.ping, self._ping_again)

    def _ping_again(self) -> None:
        """Ping the tunnels of v0.7.2; others are announced by their client."""
        self.ping()
        self._ping_later()
