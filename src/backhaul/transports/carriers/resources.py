"""The parts of the data plane that carriers need. Each protocol lists those of one kind of carrier."""

from asyncio import AbstractEventLoop
from typing import Protocol

from backhaul.mux.resources import ResumableResources
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import Poller
from backhaul.relay.copies import Copies
from backhaul.relay.flows import FlowTable
from backhaul.relay.patience import Patience
from backhaul.relay.reclaimer import Reclaimer
from backhaul.relay.resources import ChannelResources, JointResources, PairResources, SplicedResources, Timekeeper
from backhaul.relay.resumption import Resumption


class IdleResources(Protocol):
    """The parts for an idle connection."""

    loop: AbstractEventLoop
    poller: Poller


class RawResources(IdleResources, PairResources, Protocol):
    """The parts for a connection of tcp towards v0.7.2."""

    complaints: LogThrottle
    flows: FlowTable


class MessageResources(IdleResources, JointResources, ChannelResources, Protocol):
    """The parts for a connection with messages."""

    flows: FlowTable


class SealedRawResources(MessageResources, RawResources, SplicedResources, Protocol):
    """The parts for a protected connection of tcp, with records or blocks."""


class CutsResources(Protocol):
    """The parts for warnings of connections that something in between closes."""

    patience: Patience
    complaints: LogThrottle


class DedicatedResources(Timekeeper, CutsResources, Protocol):
    """The parts for the choice of a connection for each user."""

    poller: Poller


class DedicatedClientResources(Timekeeper, Protocol):
    """The parts for connections of which each has one user at a time, on the client."""

    resumption: Resumption


class WatchResources(Timekeeper, Protocol):
    """The parts for the watch over sessions."""

    complaints: LogThrottle
    resumption: Resumption


class ResumerResources(WatchResources, Protocol):
    """The parts for connections that resume sessions, on the client."""

    poller: Poller


class ReturnResources(Protocol):
    """The parts for connections that resume sessions, on the server."""

    poller: Poller
    complaints: LogThrottle
    resumption: Resumption


class MuxServerResources(ResumableResources, JointResources, Protocol):
    """The parts for sessions, and their users, on the server."""


class MuxClientResources(ResumableResources, JointResources, Protocol):
    """The parts for sessions, and their users and flows, on the client."""

    flows: FlowTable


class UdpTunnelResources(Timekeeper, Protocol):
    """The parts for the tunnels of transport udp of one client on the server."""

    copies: Copies


class UdpServerResources(UdpTunnelResources, Protocol):
    """The parts for the socket and the tunnels of transport udp on the server."""

    poller: Poller
    resumption: Resumption


class UdpClientResources(Protocol):
    """The parts for the tunnels of transport udp on the client."""

    poller: Poller
    copies: Copies
    flows: FlowTable
    patience: Patience
    resumption: Resumption


class TransportResources(
    SealedRawResources, MuxServerResources, MuxClientResources, UdpServerResources, UdpClientResources, Protocol
):
    """The parts for all transports, each of which gets its own."""

    reclaimer: Reclaimer
