"""The owner of idle connections on the public end, as tests of carriers play it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.transports.carriers.dedicated_server import IdleCarrier
from backhaul.transports.session import NO_CLIENT

from .mux import Indifferent
from .net import Sockets


@dataclass(eq=False)
class CarrierStage:
    """A relay, and the carriers that are gone."""

    net: Sockets
    relay: Relay
    session = NO_CLIENT
    fit = Indifferent()
    gone: list[IdleCarrier] = field(default_factory=list)

    def carrier_gone(self, carrier: IdleCarrier) -> None:
        """See CarrierOwner."""
        self.gone.append(carrier)

    def carrier_spoke(self, carrier: IdleCarrier, sock: object, data: bytes) -> None:
        """See CarrierOwner."""
        raise AssertionError(carrier, sock, data)


@asynccontextmanager
async def running_relay() -> AsyncIterator[Relay]:
    """Yield a relay on a poller of its own."""
    poller = make_poller()
    relay = Relay(poller)
    yield relay
    relay.close()
    poller.close()
