"""Which transport goes by which name."""

from backhaul.errors import TransportError
from backhaul.relay.pair import Relay

from .base import ClientEvents, ClientSettings, ClientTransport, ServerEvents, ServerSettings, ServerTransport
from .dedicated import DedicatedClient, DedicatedServer


def make_server(name: str, settings: ServerSettings, events: ServerEvents, relay: Relay) -> ServerTransport:
    """Return the public end of transport `name`; raises TransportError for one that is not built."""
    if name == "tcp":
        return DedicatedServer(settings, events, relay)
    raise _not_built(name)


def make_client(name: str, settings: ClientSettings, events: ClientEvents, relay: Relay) -> ClientTransport:
    """Return the client's end of transport `name`; raises TransportError for one that is not built."""
    if name == "tcp":
        return DedicatedClient(settings, events, relay)
    raise _not_built(name)


def _not_built(name: str) -> TransportError:
    return TransportError(f'transport "{name}" is not built yet; this version runs "tcp"')
