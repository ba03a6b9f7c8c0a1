"""The factories of transports: a gate or door, and a carrier, for each name.

Only the modules of the running transport are imported: the others would take a tenth of an idle process.
"""

import functools

from backhaul.net.resolver import Resolver
from backhaul.relay.engine import Relay
from backhaul.wire.transports import TRANSPORTS

from .base import ClientTransport, Door, Gate, ServerTransport
from .settings import CarrierLimits, ClientSettings, ServerSettings

# ruff: noqa: PLC0415 - see above


def make_server(name: str, settings: ServerSettings, limits: CarrierLimits, relay: Relay) -> ServerTransport:
    """Return the public end of transport ``name``. Raises TransportError when its certificate can't be used."""
    gate = _gate(name, settings, relay)
    if TRANSPORTS[name].datagrams:
        from backhaul.transports.carriers.udp_server import UdpServer

        return UdpServer(settings, limits, gate, relay)
    if TRANSPORTS[name].mux:
        from backhaul.transports.carriers.mux_server import MuxServer

        return MuxServer(settings, limits, gate, relay, messages=TRANSPORTS[name].http)
    from backhaul.transports.carriers.dedicated import DedicatedServer, MakeCarrier

    make_carrier: MakeCarrier
    if TRANSPORTS[name].http:
        from backhaul.transports.carriers.websocket import WsIdle

        make_carrier = functools.partial(WsIdle, relay)
    else:
        from backhaul.transports.carriers.raw import RawIdle

        make_carrier = functools.partial(RawIdle, relay)
    return DedicatedServer(settings, limits, gate, make_carrier)


def make_client(name: str, settings: ClientSettings, relay: Relay, resolver: Resolver) -> ClientTransport:
    """Return the client's end of transport ``name``. Raises TransportError when tls_ca can't be used."""
    if TRANSPORTS[name].datagrams:
        from backhaul.transports.carriers.udp_client import UdpClient
        from backhaul.transports.doors.raw import RawDoor

        return UdpClient(settings, RawDoor(relay.poller, settings, resolver, name), relay)
    door = _door(name, settings, relay, resolver)
    if TRANSPORTS[name].mux:
        from backhaul.transports.carriers.mux_client import MuxClient

        return MuxClient(settings, door, relay, messages=TRANSPORTS[name].http)
    from backhaul.transports.carriers.dedicated import DedicatedClient, MakeIdle

    make_idle: MakeIdle
    if TRANSPORTS[name].http:
        from backhaul.transports.carriers.websocket import WsIdleConnection

        make_idle = functools.partial(WsIdleConnection, relay)
    else:
        from backhaul.transports.carriers.raw import RawIdleConnection

        make_idle = functools.partial(RawIdleConnection, relay)
    return DedicatedClient(settings, door, make_idle)


def _gate(name: str, settings: ServerSettings, relay: Relay) -> Gate:
    if TRANSPORTS[name].http:
        from backhaul.transports.gates.http import HttpGate

        return HttpGate(relay.poller, relay.pings, settings, name)
    from backhaul.transports.gates.raw import RawGate

    return RawGate(relay.poller, settings, name)


def _door(name: str, settings: ClientSettings, relay: Relay, resolver: Resolver) -> Door:
    if TRANSPORTS[name].http:
        from backhaul.transports.doors.http import HttpDoor

        return HttpDoor(relay.poller, relay.pings, settings, resolver, name)
    from backhaul.transports.doors.raw import RawDoor

    return RawDoor(relay.poller, settings, resolver, name)
