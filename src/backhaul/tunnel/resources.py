"""The parts of the data plane that the control plane of the public end needs."""

from asyncio import AbstractEventLoop
from typing import Protocol

from backhaul.net.poller import Poller
from backhaul.relay.connections import InFlight
from backhaul.relay.flows import FlowTable
from backhaul.relay.resumption import Resumption


class LookResources(Protocol):
    """The parts for looks at all users."""

    loop: AbstractEventLoop
    poller: Poller
    live: set[InFlight]
    flows: FlowTable


class FlowResources(Protocol):
    """The parts for the flows of a client."""

    poller: Poller
    flows: FlowTable


class TunnelResources(FlowResources, Protocol):
    """The parts for the tunnel to a client."""

    resumption: Resumption
