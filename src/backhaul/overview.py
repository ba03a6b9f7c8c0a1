"""What both ends tell the monitor: numbers that are there anyway, read when somebody asks."""

import time
from collections.abc import Callable, Iterator

from backhaul.monitor.events import EventLog
from backhaul.monitor.status import NO_CLIENT, OTHERS, PortStatus, Status
from backhaul.relay.engine import Relay
from backhaul.tunnel.ports import Port
from backhaul.tunnel.target_book import TargetBook, TargetCounters
from backhaul.wire.targets import BadTargetError, parse_target

from . import __version__
from .client import Client
from .errors import BackhaulError
from .server import Server


def reader(end: Server | Client, events: EventLog) -> Callable[[], Status]:
    """Return a function that tells how `end` is at the moment of the call."""
    started = time.time()

    def read() -> Status:
        return _server(end, events, started) if isinstance(end, Server) else _client(end, events, started)

    return read


def _server(end: Server, events: EventLog, started: float) -> Status:
    tunnel = end.tunnel
    return Status(
        side="server",
        transport=end.config.transport,
        stopping=end.stopping,
        connected=tunnel.connected,
        peer=tunnel.peer,
        problem=tunnel.problem,
        rtt=tunnel.transport.rtt or None,
        reconnects=max(0, tunnel.opened - 1),
        unanswered=tunnel.unanswered,
        pool_idle=tunnel.transport.idle,
        pool_size=None,
        sessions=len(end.relay.links),
        streams=_streams(end.relay),
        flows=sum(port.udp.flows for port in tunnel.ports.all.values()),
        started=started,
        ports=tuple(_port(port, refusing=tunnel.offline) for port in tunnel.ports.all.values()),
        events=tuple(events.events()),
        version=__version__,
    )


def _client(end: Client, events: EventLog, started: float) -> Status:
    tunnel = end.tunnel
    return Status(
        side="client",
        transport=end.config.transport,
        stopping=end.stopping,
        connected=tunnel.connected,
        peer=tunnel.peer,
        problem=tunnel.problem,
        rtt=None,
        reconnects=max(0, tunnel.opened - 1),
        unanswered=0,
        pool_idle=tunnel.transport.idle,
        pool_size=tunnel.pool_size,
        sessions=len(end.relay.links),
        streams=_streams(end.relay),
        flows=len(end.relay.flows),
        started=started,
        ports=tuple(_targets(tunnel.targets)),
        events=tuple(events.events()),
        version=__version__,
    )


def _streams(relay: Relay) -> int:
    return sum(len(link) for link in relay.links)


def _port(port: Port, *, refusing: bool) -> PortStatus:
    problem = port.problem or (NO_CLIENT if refusing else "")
    return PortStatus(
        port=port.mapping.bind_port,
        bind=port.mapping.bind_host,
        target=port.mapping.target,
        open=port.open,
        total=port.total,
        refused=port.refused,
        dropped=port.dropped,
        target_refused=port.target_refused,
        received=port.traffic.received.bytes,
        sent=port.traffic.sent.bytes,
        udp_flows=port.udp.flows,
        udp_dropped=port.udp.dropped,
        up=not problem,
        problem=problem,
    )


def _targets(book: TargetBook) -> Iterator[PortStatus]:
    yield from (_target(target, counters) for target, counters in book)
    if book.others.used:
        yield _target(OTHERS, book.others)


def _target(target: str, counters: TargetCounters) -> PortStatus:
    try:
        port = parse_target(target).port
    except (BadTargetError, BackhaulError):
        port = 0
    return PortStatus(
        port=port,
        bind="",
        target=target,
        open=counters.open,
        total=counters.total,
        refused=counters.refused,
        dropped=counters.dropped,
        target_refused=0,
        received=counters.traffic.received.bytes,
        sent=counters.traffic.sent.bytes,
        udp_flows=counters.flows,
        udp_dropped=0,
        up=True,
        problem="",
    )
