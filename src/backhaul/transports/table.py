"""Which transport goes by which name: a way in (or out) and a carrier."""

import functools

from backhaul.relay.pair import Relay

from .base import (
    ClientEvents,
    ClientSettings,
    ClientTransport,
    Door,
    DoorEvents,
    Gate,
    GateEvents,
    ServerEvents,
    ServerSettings,
    ServerTransport,
)
from .dedicated import DedicatedClient, DedicatedServer
from .http_client import HttpDoor
from .http_server import HttpGate
from .mux import MuxClient, MuxServer
from .raw_carrier import RawIdle, RawWaiting
from .raw_client import RawDoor
from .raw_server import RawGate
from .udp_client import UdpClient
from .udp_server import UdpServer
from .ws_carrier import WsIdle, WsWaiting

_HTTP = frozenset({"ws", "wss", "wsmux", "wssmux"})
_MUX = frozenset({"tcpmux", "wsmux", "wssmux"})


def make_server(name: str, settings: ServerSettings, events: ServerEvents, relay: Relay) -> ServerTransport:
    """Return the public end of transport `name`."""

    def make_gate(carrier: GateEvents) -> Gate:
        if name in _HTTP:
            return HttpGate(settings, carrier, relay, muxed=name in _MUX)
        return RawGate(relay.poller, settings, carrier, measure_rtt=name == "tcp")

    if name in _MUX:
        return MuxServer(settings, events, relay, make_gate)
    if name in _HTTP:
        return DedicatedServer(settings, events, make_gate, functools.partial(WsIdle, relay))
    if name == "udp":
        return UdpServer(settings, events, relay)
    return DedicatedServer(settings, events, make_gate, functools.partial(RawIdle, relay))


def make_client(name: str, settings: ClientSettings, events: ClientEvents, relay: Relay) -> ClientTransport:
    """Return the client's end of transport `name`."""

    def make_door(carrier: DoorEvents) -> Door:
        if name in _HTTP:
            return HttpDoor(relay.poller, settings, carrier)
        return RawDoor(relay.poller, settings, carrier, measure_rtt=name == "tcp")

    if name in _MUX:
        return MuxClient(settings, events, relay, make_door)
    if name in _HTTP:
        return DedicatedClient(events, make_door, functools.partial(WsWaiting, relay))
    if name == "udp":
        return UdpClient(settings, events, relay)
    return DedicatedClient(events, make_door, functools.partial(RawWaiting, relay))
