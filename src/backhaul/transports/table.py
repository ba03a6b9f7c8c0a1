"""Which transport goes by which name: a way in (or out) and a carrier."""

from backhaul.errors import TransportError
from backhaul.relay.pair import Relay

from .base import ClientEvents, ClientSettings, ClientTransport, ServerEvents, ServerSettings, ServerTransport
from .dedicated import DedicatedClient, DedicatedServer
from .mux import MuxClient, MuxServer
from .raw_client import RawDoor
from .raw_server import RawGate


def make_server(name: str, settings: ServerSettings, events: ServerEvents, relay: Relay) -> ServerTransport:
    """Return the public end of transport `name`; raises TransportError for one that is not built."""
    if name == "tcp":
        return DedicatedServer(
            settings, events, relay, lambda carrier: RawGate(relay.poller, settings, carrier, measure_rtt=True)
        )
    if name == "tcpmux":
        return MuxServer(
            settings, events, relay, lambda carrier: RawGate(relay.poller, settings, carrier, measure_rtt=False)
        )
    raise _not_built(name)


def make_client(name: str, settings: ClientSettings, events: ClientEvents, relay: Relay) -> ClientTransport:
    """Return the client's end of transport `name`; raises TransportError for one that is not built."""
    if name == "tcp":
        return DedicatedClient(
            events, relay, lambda carrier: RawDoor(relay.poller, settings, carrier, measure_rtt=True)
        )
    if name == "tcpmux":
        return MuxClient(
            settings, events, relay, lambda carrier: RawDoor(relay.poller, settings, carrier, measure_rtt=False)
        )
    raise _not_built(name)


def _not_built(name: str) -> TransportError:
    return TransportError(f'transport "{name}" is not built yet; this version runs "tcp" and "tcpmux"')
