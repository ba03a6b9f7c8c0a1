"""The translation of both ends' states into the words of the monitor."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from backhaul.addresses import address_text, port_name
from backhaul.monitor.connections import Connections, ConnectionStatus
from backhaul.monitor.events import EventLog
from backhaul.monitor.status import (
    DRAINING,
    NO_CLIENT,
    OTHERS,
    ClientStatus,
    GroupStatus,
    LimitStatus,
    PortStatus,
    ServerStatus,
    Status,
    Survey,
)
from backhaul.monitor.traffic import Traffic
from backhaul.selection import Selection
from backhaul.state import (
    ClientState,
    DestinationState,
    GroupState,
    LimitState,
    MovedState,
    PortState,
    ResumptionState,
    ServedState,
    ServerState,
    State,
    TargetState,
    UserState,
)
from backhaul.system.log import TUNNEL, escape
from backhaul.system.uptime import Start
from backhaul.wire.targets import BadTargetError, parse_target

from . import __version__


class _Run(NamedTuple):
    """The facts that stay while the program runs."""

    config: str
    start: Start


def reader(ask: Callable[[], State], events: EventLog, file: str = "") -> Callable[[], Status]:
    """Return a function that asks one end for its state and returns it as a status; ``file`` is the configuration."""
    made = _maker(events, file)

    def read() -> Status:
        return made(ask())

    return read


def surveyor(ask: Callable[[], Awaitable[State]], events: EventLog, file: str = "") -> Survey:
    """Return a function that does the same in turns of the event loop."""
    made = _maker(events, file)

    async def survey() -> Status:
        state = await ask()
        await asyncio.sleep(0)  # the translation takes as long as a few slices
        return made(state)

    return survey


def meter(ask: Callable[[], MovedState]) -> Callable[[], Traffic]:
    """Return a function that asks one end for the bytes of all users, which takes a fraction of the time."""

    def totals() -> Traffic:
        moved = ask()
        return Traffic(moved.received, moved.sent)

    return totals


def _maker(events: EventLog, file: str) -> Callable[[State], Status]:
    run, name = _Run(escape(file), Start()), escape(TUNNEL.get())  # names of files may be no UTF-8, as JSON must be

    def made(state: State) -> Status:
        status = _server(state, events, run) if isinstance(state, ServerState) else _client(state, events, run)
        return replace(_with_resumption(status, state.relay.resumption), tunnel=name)

    return made


def _with_resumption(status: Status, resumption: ResumptionState) -> Status:
    return replace(
        status,
        parked=resumption.parked,
        resumes=resumption.resumes,
        rotations=resumption.rotations,
        resume_seconds=round(resumption.seconds, 3),
        replayed=resumption.replayed,
        spooled=resumption.memory,
    )


def connections(users: Callable[[], Iterator[UserState]], close: Callable[[Selection], Iterator[bool]]) -> Connections:
    """Return the users in flight of one end for the monitor."""

    def rows(selection: Selection) -> Iterator[ConnectionStatus | None]:
        return (_connection(user) if selection.chooses(user) else None for user in users())

    return Connections(rows, close)


def _connection(user: UserState) -> ConnectionStatus:
    return ConnectionStatus(
        id=user.number,
        protocol=user.protocol,
        since=round(time.time() - user.age, 3),
        user=address_text(user.host, user.port),
        port=port_name(user.bind_host, user.bind_port) if user.bind_host or user.bind_port else "",
        client=user.client,
        target=user.target,
        carrier=f"{user.transport} {user.stream}" if user.stream else user.transport,
        state=user.phase,
        received=user.received,
        sent=user.sent,
    )


def _server(state: ServerState, events: EventLog, run: _Run) -> Status:
    return Status(
        config=run.config,
        side="server",
        transport=state.transport,
        stopping=state.stopping,
        draining=state.draining,
        connected=state.session.connected,
        peer=state.session.peer,
        problem=state.session.problem,
        rtt=state.session.rtt or None,
        reconnects=sum(max(0, client.session.opened - 1) for client in state.clients),
        unanswered=state.unanswered,
        pool_idle=state.session.idle,
        pool_size=None,
        allow_targets=(),
        sessions=len(state.relay.links),
        streams=sum(link.streams for link in state.relay.links),
        flows=sum(port.flows for port in state.ports),
        now=time.time(),
        started=run.start.moment(),
        ports=(*_client_ports(state), *_group_ports(state)),
        events=tuple(events.events()),
        version=__version__,
        waiting=state.waiting,
        clients=tuple(map(_served, state.clients)) if any(client.name for client in state.clients) else (),
        groups=tuple(map(_group, state.groups)),
        limits=tuple(map(_limit, state.limits)),
    )


def _client(state: ClientState, events: EventLog, run: _Run) -> Status:
    return Status(
        config=run.config,
        side="client",
        transport=state.transport,
        stopping=state.stopping,
        draining=state.draining,
        connected=state.session.connected,
        peer=state.session.peer,
        problem=state.session.problem,
        rtt=None,
        reconnects=max(0, state.session.opened - 1),
        unanswered=0,
        pool_idle=state.session.idle,
        pool_size=state.pool_size,
        allow_targets=state.allow_targets,
        sessions=len(state.relay.links),
        streams=sum(link.streams for link in state.relay.links),
        flows=state.relay.flows,
        now=time.time(),
        started=run.start.moment(),
        ports=tuple(_targets(state)),
        events=tuple(events.events()),
        servers=tuple(map(_destination, state.servers)) if len(state.servers) > 1 else (),
        version=__version__,
    )


def _client_ports(state: ServerState) -> Iterator[PortStatus]:
    for client in state.clients:
        closed = DRAINING if client.draining else _closed(state, refusing=client.refusing)
        yield from (_port(port, closed, client=client.name) for port in client.ports)


def _group_ports(state: ServerState) -> Iterator[PortStatus]:
    for group in state.groups:
        closed = _closed(state, refusing=group.refusing)
        yield from (_port(port, closed, group=group.name) for port in group.ports)


def _closed(state: ServerState, *, refusing: bool) -> str:
    """Return the reason why all ports of a client or group refuse users; empty if they do not."""
    if state.draining:
        return DRAINING
    return NO_CLIENT if refusing else ""


def _group(group: GroupState) -> GroupStatus:
    return GroupStatus(group.name, group.balance, group.members, group.health, group.health_interval)


def _served(client: ServedState) -> ClientStatus:
    session = client.session
    return ClientStatus(
        name=client.name,
        connected=session.connected,
        peer=session.peer,
        problem=session.problem,
        rtt=session.rtt or None,
        reconnects=max(0, session.opened - 1),
        users=client.users,
        pool_idle=session.idle,
        draining=client.draining,
    )


def _limit(state: LimitState) -> LimitStatus:
    return LimitStatus(state.table, state.limit, state.unit, state.most, state.used if state.counted else None)


def _destination(server: DestinationState) -> ServerStatus:
    return ServerStatus(
        name=server.name,
        transport=server.transport,
        in_use=server.in_use,
        connected=server.session.connected,
        peer=server.session.peer,
        problem=server.session.problem,
        reconnects=max(0, server.session.opened - 1),
        replaced=server.replaced,
    )


def _port(port: PortState, closed: str, *, client: str = "", group: str = "") -> PortStatus:
    problem = port.problem or closed
    return PortStatus(
        port=port.bind_port,
        bind=port.bind_host,
        protocol=port.protocol,
        target=port.target,
        open=port.open,
        total=port.total,
        refused=port.refused,
        refused_by={refusal.reason: refusal.count for refusal in port.refusals},
        dropped=port.dropped,
        target_refused=port.target_refused,
        received=port.received,
        sent=port.sent,
        udp_flows=port.flows,
        udp_dropped=port.datagrams_dropped,
        up=not problem,
        problem=problem,
        reached=port.health.reached,
        failed=port.health.failed,
        failure=port.health.failure,
        client=client,
        group=group,
    )


def _targets(state: ClientState) -> Iterator[PortStatus]:
    yield from (_target(target, target.target) for target in state.targets)
    if state.others.used:
        yield _target(state.others, OTHERS)


def _target(state: TargetState, name: str) -> PortStatus:
    try:
        port = parse_target(name).port
    except BadTargetError:
        port = 0
    return PortStatus(
        port=port,
        bind="",
        target=name,
        open=state.open,
        total=state.total,
        refused=state.refused,
        refused_by={},
        dropped=state.dropped,
        target_refused=0,
        received=state.received,
        sent=state.sent,
        udp_flows=state.flows,
        udp_dropped=0,
        up=True,
        problem="",
        reached=state.health.reached,
        failed=state.health.failed,
        failure=state.health.failure,
    )
