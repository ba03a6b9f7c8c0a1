"""The factories of transports: a gate or door, and a carrier, for each name.

Only the modules of the running transport are imported: the others would take a tenth of an idle process.
"""

import functools
from typing import TYPE_CHECKING

from backhaul.net.resolver import Resolver
from backhaul.wire.transports import TRANSPORTS

from .client_end import ClientTransport, Door
from .connection import Connection, SealedConnection
from .gates.reception import Reception, SharedGate
from .public_end import Gate, ServerTransport
from .settings import CarrierLimits, ClientSettings, ServerSettings

if TYPE_CHECKING:
    from backhaul.transports.carriers.dedicated_client import IdleConnection, IdleOwner
    from backhaul.transports.carriers.dedicated_server import CarrierOwner, IdleCarrier
    from backhaul.transports.carriers.resources import MessageResources, SealedRawResources, TransportResources

# ruff: noqa: PLC0415 - see above


def make_reception(name: str, settings: ServerSettings, relay: "TransportResources") -> Reception:
    """Return the gate of transport ``name`` for all clients. Raises TransportError for an unusable certificate."""
    gate = _gate(name, settings, relay)
    if TRANSPORTS[name].datagrams:
        from .udp_reception import UdpReception

        return UdpReception(gate, settings, relay)
    return Reception(relay, gate)


def make_server(
    name: str, settings: ServerSettings, limits: CarrierLimits, relay: "TransportResources", gate: Gate
) -> ServerTransport:
    """Return the public end of transport ``name`` for one client."""
    if TRANSPORTS[name].datagrams:
        from .udp_reception import make_udp_server

        return make_udp_server(settings, limits, relay.poller, gate)
    if TRANSPORTS[name].mux:
        from backhaul.transports.carriers.mux_server import MuxServer

        return MuxServer(settings, limits, gate, relay, messages=TRANSPORTS[name].http)
    from backhaul.transports.carriers.dedicated_server import DedicatedServer

    make = websocket_carrier if TRANSPORTS[name].http else raw_carrier
    return DedicatedServer(settings, limits, gate, functools.partial(make, relay), relay)


def make_client(
    name: str, settings: ClientSettings, relay: "TransportResources", resolver: Resolver
) -> ClientTransport:
    """Return the client's end of transport ``name``. Raises TransportError when tls_ca can't be used."""
    if TRANSPORTS[name].datagrams:
        from backhaul.transports.carriers.udp_client import UdpClient
        from backhaul.transports.doors.raw import RawDoor

        return UdpClient(settings, RawDoor(relay.poller, settings, resolver, name), relay)
    door = _door(name, settings, relay, resolver)
    if TRANSPORTS[name].mux:
        from backhaul.transports.carriers.mux_client import MuxClient

        return MuxClient(settings, door, relay, messages=TRANSPORTS[name].http)
    from backhaul.transports.carriers.dedicated_client import DedicatedClient

    make = websocket_idle if TRANSPORTS[name].http else raw_idle
    return DedicatedClient(settings, door, functools.partial(make, relay), relay)


def _gate(name: str, settings: ServerSettings, relay: "TransportResources") -> SharedGate:
    if TRANSPORTS[name].http:
        from backhaul.transports.gates.http import HttpGate

        return HttpGate(relay.poller, relay.pings, relay.reclaimer.strangers, settings, name)
    from backhaul.transports.gates.raw import RawGate

    return RawGate(relay.poller, relay.reclaimer.strangers, settings, name)


def _door(name: str, settings: ClientSettings, relay: "TransportResources", resolver: Resolver) -> Door:
    if TRANSPORTS[name].http:
        from backhaul.transports.doors.http import HttpDoor

        return HttpDoor(relay.poller, relay.pings, settings, resolver, name)
    from backhaul.transports.doors.raw import RawDoor

    return RawDoor(relay.poller, settings, resolver, name)


def raw_carrier(relay: "SealedRawResources", connection: Connection, owner: "CarrierOwner") -> "IdleCarrier":
    """Return an idle connection of tcp on the public end."""
    if isinstance(connection, SealedConnection):
        from backhaul.transports.carriers import sealed_raw as sealed

        return (sealed.RecordIdle if connection.seals.payload else sealed.ClearIdle)(relay, connection, owner)
    from backhaul.transports.carriers.raw import RawIdle

    return RawIdle(relay, connection, owner)


def websocket_carrier(relay: "MessageResources", connection: Connection, owner: "CarrierOwner") -> "IdleCarrier":
    """Return an idle connection of ws or wss on the public end."""
    if isinstance(connection, SealedConnection):
        from backhaul.transports.carriers import sealed_websocket as sealed

        return (sealed.WsRecordIdle if connection.seals.payload else sealed.SealedWsIdle)(relay, connection, owner)
    from backhaul.transports.carriers.websocket import WsIdle

    return WsIdle(relay, connection, owner)


def raw_idle(relay: "SealedRawResources", connection: Connection, owner: "IdleOwner") -> "IdleConnection":
    """Return an idle connection of tcp on the client."""
    if isinstance(connection, SealedConnection):
        from backhaul.transports.carriers import sealed_raw as sealed

        make = sealed.RecordIdleConnection if connection.seals.payload else sealed.ClearIdleConnection
        return make(relay, connection, owner)
    from backhaul.transports.carriers.raw import RawIdleConnection

    return RawIdleConnection(relay, connection, owner)


def websocket_idle(relay: "MessageResources", connection: Connection, owner: "IdleOwner") -> "IdleConnection":
    """Return an idle connection of ws or wss on the client."""
    if isinstance(connection, SealedConnection):
        from backhaul.transports.carriers import sealed_websocket as sealed

        make = sealed.WsRecordIdleConnection if connection.seals.payload else sealed.SealedWsIdleConnection
        return make(relay, connection, owner)
    from backhaul.transports.carriers.websocket import WsIdleConnection

    return WsIdleConnection(relay, connection, owner)
