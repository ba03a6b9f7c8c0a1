"""The command ``backhaul status``: shows the state of the programs running on this machine."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from backhaul.config.messages import few
from backhaul.monitor.status import (
    CLOSED,
    ClientStatus,
    Event,
    GroupStatus,
    LimitStatus,
    PortStatus,
    ServerStatus,
    Status,
)
from backhaul.state import MemberState
from backhaul.system.calls import STATUS
from backhaul.system.log import escape

from .programs import ask_programs, complain, label
from .tables import amount, duration, number, size, table

_COLUMNS: Final = ("open", "total", "refused", "dropped", "from users", "to users")
_MEMBERS: Final = ("client", "users", "total", "refused", "state")
_EVENTS: Final = 5  # the last ones: enough to see why a tunnel is down


def run(config: str | None, *, as_json: bool) -> int:
    """Print the status of the running programs, or of the one that runs the file ``config``.

    Returns 0 if there is at least one, all tunnels are connected, and all ports are up; otherwise 1.
    """
    found = ask_programs(config, STATUS)
    complain("status", found.problems)
    if as_json:
        print(json.dumps(found.documents, indent=2))
    elif found.documents:
        print("\n\n".join(map(describe, found.documents)))
    return 0 if found.documents and not found.problems and all(map(_healthy, found.documents)) else 1


def render(name: str, status: Status, now: float) -> str:
    """Describe one program; ``now`` in seconds since 1970, UTC. Text from outside is escaped."""
    return "\n".join(escape(line) for line in _lines(name, status, now))


def _healthy(document: dict[str, Any]) -> bool:
    down = any(port.get("up") is False for port in _rows(document, "ports"))
    lost = any(client.get("connected") is False for client in _rows(document, "clients"))
    sick = any(member.get("problem") for group in _rows(document, "groups") for member in _rows(group, "members"))
    return bool(document.get("connected")) and not down and not lost and not sick


def _rows(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the entries of a list that another version of the program may have sent."""
    rows = document.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def describe(document: dict[str, Any]) -> str:
    """Describe the program that has answered with this document, even if it is of another version."""
    try:
        return render(label(document), msgspec.convert(document, Status), time.time())
    except msgspec.ValidationError:
        return escape(f"{document['socket']}: another version of the program; --json shows its answer")


def _lines(name: str, status: Status, now: float) -> Iterator[str]:
    state = f"connected to {status.peer}" if status.connected else "NOT CONNECTED"
    state += f": {status.problem}" if status.problem else ""
    state += ", draining" if status.draining else ""
    state += ", stopping" if status.stopping else ""
    yield f"{name}: {status.side}, transport {status.transport}, {state}"
    yield f"  up {duration(now - status.started)}, {', '.join(_facts(status))}, version {status.version}"
    if status.side == "client":
        yield f"  allowed targets: {few(status.allow_targets) or 'all but Unix sockets'}"
    if status.servers:
        yield ""
        yield from table([("server", "transport", "state"), *map(_server, status.servers)], frozenset())
    yield from map(_client, status.clients)
    for group in status.groups:
        yield from _group(group)
    if status.ports:
        yield ""
        yield from _table(status)
        yield from _down(status.ports)
        yield from _failing(status.ports, now)
    if status.limits:
        yield ""
        yield from _limits(status.limits)
    if status.events:
        yield ""
        yield from map(_event, status.events[-_EVENTS:])


def _client(client: ClientStatus) -> str:
    state = f"connected to {client.peer}" if client.connected else "NOT CONNECTED"
    state += f": {client.problem}" if client.problem else ""
    state += ", draining" if client.draining else ""
    trip = "" if client.rtt is None else f", round trip {client.rtt * 1000:.1f} ms"
    counts = f"{number(client.users, 'user')}, {number(client.reconnects, 'reconnect')}"
    return f"  client {client.name or '(without a name)'}: {state}, {counts}{trip}"


def _group(group: GroupStatus) -> Iterator[str]:
    members = f"{sum(member.ready for member in group.members)} of {number(len(group.members), 'client')} ready"
    checks = f", health {group.health} every {group.health_interval} s" if group.health else ""
    yield ""
    yield f"  group {group.name}: {members}, balance {group.balance}{checks}"
    yield from table([_MEMBERS, *map(_member, group.members)], frozenset({1, 2, 3}))


def _member(member: MemberState) -> tuple[str, ...]:
    state = member.state if member.ready else member.state.upper()
    state += f": {member.problem}" if member.problem else ""
    return member.client, str(member.users), str(member.total), str(member.refused), state


def _down(ports: Sequence[PortStatus]) -> Iterator[str]:
    yield from (
        f"  {port.name}: {number(count, 'user')} refused: {why.replace('_', ' ')}"
        for port in ports
        for why, count in port.refused_by.items()
    )
    yield from (
        f"  {port.name}: {number(port.target_refused, 'user')} refused by target {port.target}"
        for port in ports
        if port.target_refused
    )
    yield from (f"  {port.name}: port down: {port.problem}" for port in ports if port.problem not in {"", *CLOSED})
    closed = Counter(port.problem for port in ports if port.problem in CLOSED)
    yield from (f"  {number(count, 'port')} closed: {why}" for why, count in closed.items())


def _failing(ports: Sequence[PortStatus], now: float) -> Iterator[str]:
    yield from (
        f"  target {port.target}: failed {duration(now - port.failed)} ago: {port.failure}; "
        + (f"last success {duration(now - port.reached)} ago" if port.reached else "no success so far")
        for port in ports
        if port.fails
    )


def _facts(status: Status) -> Iterator[str]:
    yield number(status.reconnects, "reconnect")
    if status.unanswered:
        yield f"{number(status.unanswered, 'user')} without an answer"
    if status.rtt is not None:
        yield f"round trip {status.rtt * 1000:.1f} ms"
    yield f"pool {status.pool_idle}" + ("" if status.pool_size is None else f" of {status.pool_size}")
    carried = {"session": status.sessions, "stream": status.streams, "UDP flow": status.flows}
    yield from (number(count, noun) for noun, count in carried.items() if count)
    if status.parked:
        yield f"{number(status.parked, 'session')} without a connection"
    if status.resumes:
        yield f"{number(status.resumes, 'resume')} of sessions"


def _table(status: Status) -> Iterator[str]:
    names = ("port", "target") if status.side == "server" else ("target",)
    names = ("client", *names) if status.clients else names
    rows = [(*names, *_COLUMNS), *(_row(port)[-len(names) - len(_COLUMNS) :] for port in status.ports)]
    yield from table(rows, frozenset(range(len(names), len(rows[0]))))


def _server(server: ServerStatus) -> tuple[str, ...]:
    return server.name, server.transport, server.state


def _limits(limits: Sequence[LimitStatus]) -> Iterator[str]:
    rows = [("limit", "most", "used"), *(_limit(limit) for limit in limits)]
    yield from table(rows, frozenset({1, 2}))


def _limit(limit: LimitStatus) -> tuple[str, ...]:
    used = "" if limit.used is None else f"{amount(limit.used, limit.unit)} ({limit.used * 100 // limit.most} %)"
    return limit.name, amount(limit.most, limit.unit), used


def _row(port: PortStatus) -> tuple[str, ...]:
    counts = (port.open, port.total, port.refused, port.dropped)
    return port.client or port.group, port.name, port.target, *map(str, counts), size(port.received), size(port.sent)


def _event(event: Event) -> str:
    return f"  {time.strftime('%d-%b %H:%M:%S', time.localtime(event.time))} {event.level}: {event.text}"
