"""The factories of transports: a gate or door, and a carrier, for each name.

Only the modules of the running transport are imported: the others would take a tenth of an idle process.
"""

import functools

from backhaul.net.resolver import Resolver
from backhaul.relay.engine import Relay
from backhaul.wire.transports import TRANSPORTS

from .base import ClientEvents, ClientTransport, Door, DoorEvents, Gate, GateEvents, ServerEvents, ServerTransport
from .settings import CarrierLimits, ClientSettings, ServerSettings

# ruff: noqa: PLC0415 - see above


def make_server(
    name: str, settings: ServerSettings, limits: CarrierLimits, events: ServerEvents, relay: Relay
) -> ServerTransport:
    """Return the public end of transport ``name``. Raises TransportError when its certificate can't be used."""
    make_gate = functools.partial(_gate, name, settings, relay)
    if TRANSPORTS[name].datagrams:
        from backhaul.transports.carriers.udp_server import UdpServer

        return UdpServer(settings, limits, events, relay)
    if TRANSPORTS[name].mux:
        from backhaul.transports.carriers.mux_server import MuxServer

        return MuxServer(settings, limits, events, relay, make_gate)
    from backhaul.transports.carriers.dedicated import DedicatedServer, MakeCarrier

    make_carrier: MakeCarrier
    if TRANSPORTS[name].http:
        from backhaul.transports.carriers.websocket import WsIdle

        make_carrier = functools.partial(WsIdle, relay)
    else:
        from backhaul.transports.carriers.raw import RawIdle

        make_carrier = functools.partial(RawIdle, relay)
    return DedicatedServer(settings, limits, events, make_gate, make_carrier)


def make_client(
    name: str, settings: ClientSettings, events: ClientEvents, relay: Relay, resolver: Resolver
) -> ClientTransport:
    """Return the client's end of transport ``name``. Raises TransportError when tls_ca can't be used."""
    make_door = functools.partial(_door, name, settings, relay, resolver)
    if TRANSPORTS[name].datagrams:
        from backhaul.transports.carriers.udp_client import UdpClient

        return UdpClient(settings, events, relay, resolver)
    if TRANSPORTS[name].mux:
        from backhaul.transports.carriers.mux_client import MuxClient

        return MuxClient(settings, events, relay, make_door)
    from backhaul.transports.carriers.dedicated import DedicatedClient, MakeIdle

    make_idle: MakeIdle
    if TRANSPORTS[name].http:
        from backhaul.transports.carriers.websocket import WsIdleConnection

        make_idle = functools.partial(WsIdleConnection, relay)
    else:
        from backhaul.transports.carriers.raw import RawIdleConnection

        make_idle = functools.partial(RawIdleConnection, relay)
    return DedicatedClient(events, make_door, make_idle)


def _gate(name: str, settings: ServerSettings, relay: Relay, carrier: GateEvents) -> Gate:
    if TRANSPORTS[name].http:
        from backhaul.transports.gates.http import HttpGate

        return HttpGate(settings, carrier, relay, name)
    from backhaul.transports.gates.raw import RawGate

    return RawGate(relay.poller, settings, carrier, name)


def _door(name: str, settings: ClientSettings, relay: Relay, resolver: Resolver, carrier: DoorEvents) -> Door:
    if TRANSPORTS[name].http:
        from backhaul.transports.doors.http import HttpDoor

        return HttpDoor(relay, settings, carrier, resolver, name)
    from backhaul.transports.doors.raw import RawDoor

    return RawDoor(relay.poller, settings, carrier, resolver, name)
