"""The metrics: those of v0.7.2 under the same names, and more.

They are made in slices, between which the loop serves users: a thousand ports take 20 ms.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import accumulate, chain, islice, repeat
from operator import add, attrgetter
from typing import Final, NamedTuple

from msgspec.structs import replace

from backhaul.addresses import port_name
from backhaul.state import HistogramState, UserTimesState

from .exposition import Form, label
from .status import PortStatus, Status

SLICE: Final = 1000
"""Lines between two pauses: half a millisecond of CPU time."""
SLICE_OF_TIMES: Final = 100
"""Pairs of histograms between two pauses: a millisecond."""
_KEPT_PORTS: Final = 2048  # whose labels are made once, in some 400 KB
UNNAMED: Final = "default"
"""The label of the client without a name; an empty one would mean no label."""


class _Family(NamedTuple):
    name: str
    kind: str
    meaning: str
    field: str
    """Of the status of that thing; a field that is None is left out."""


_TUNNEL: Final = (
    _Family("backhaul_tunnel_status", "gauge", "1 while the tunnel is connected, else 0.", "connected"),
    _Family("backhaul_tunnel_rtt_seconds", "gauge", "Round-trip time of the control channel.", "rtt"),
    _Family("backhaul_start_time_seconds", "gauge", "Start of the program, in seconds since 1970.", "started"),
    _Family("backhaul_idle_pool_connections", "gauge", "Tunnel connections that wait for a user.", "pool_idle"),
    _Family("backhaul_wanted_pool_connections", "gauge", "Idle tunnel connections that the pool needs.", "pool_size"),
    _Family("backhaul_sessions", "gauge", "Multiplexed sessions open now.", "sessions"),
    _Family("backhaul_streams", "gauge", "Streams open now on all sessions.", "streams"),
    _Family("backhaul_sessions_parked", "gauge", "Sessions that wait for another connection.", "parked"),
    _Family("backhaul_session_resumes_total", "counter", "Resumptions of sessions on another connection.", "resumes"),
    _Family("backhaul_session_rotations_total", "counter", "Resumptions because of age or bytes.", "rotations"),
    _Family("backhaul_session_parked_seconds_total", "counter", "Time without a connection.", "resume_seconds"),
    _Family("backhaul_session_replayed_bytes_total", "counter", "Bytes of sessions sent again.", "replayed"),
    _Family("backhaul_session_spool_bytes", "gauge", "Memory for unacknowledged bytes of sessions.", "spooled"),
    _Family("backhaul_reconnects_total", "counter", "Reconnections after the loss of the tunnel.", "reconnects"),
    _Family("backhaul_unanswered_total", "counter", "Users who sent bytes and received none.", "unanswered"),
)
_PORT: Final = (
    _Family("backhaul_open_connections", "gauge", "Connections open now.", "open"),
    _Family("backhaul_open_udp_flows", "gauge", "UDP flows open now.", "udp_flows"),
    _Family("backhaul_connections_total", "counter", "Connections accepted.", "total"),
    _Family(
        "backhaul_refused_connections_total",
        "counter",
        "Connections refused before they reached the tunnel.",
        "refused",
    ),
    _Family(
        "backhaul_dropped_connections_total",
        "counter",
        "Connections dropped because the tunnel or the target failed.",
        "dropped",
    ),
    _Family(
        "backhaul_target_refused_total",
        "counter",
        "Connections that the target reset before it had sent a byte.",
        "target_refused",
    ),
    _Family("backhaul_received_bytes_total", "counter", "Bytes from users.", "received"),
    _Family("backhaul_sent_bytes_total", "counter", "Bytes to users.", "sent"),
    _Family("backhaul_dropped_udp_datagrams_total", "counter", "UDP datagrams dropped.", "udp_dropped"),
)
_CLIENT: Final = (
    _Family("backhaul_client_connected", "gauge", "1 while this client is connected, else 0.", "connected"),
    _Family("backhaul_client_users", "gauge", "Users of this client.", "users"),
    _Family("backhaul_client_rtt_seconds", "gauge", "Round-trip time of the control channel.", "rtt"),
    _Family("backhaul_client_reconnects_total", "counter", "Reconnections of this client.", "reconnects"),
)
_MEMBER: Final = (
    _Family("backhaul_group_member_ready", "gauge", "1 while this client gets users of the group, else 0.", "ready"),
    _Family("backhaul_group_member_healthy", "gauge", "0 while health checks fail, else 1.", "healthy"),
    _Family("backhaul_group_member_users", "gauge", "Users of this group on this client.", "users"),
    _Family("backhaul_group_member_connections_total", "counter", "Users of this group that the client had.", "total"),
    _Family("backhaul_group_member_refused_total", "counter", "Users refused by the limits of this client.", "refused"),
)
_LIMIT: Final = "backhaul_limit"
_LIMIT_USED: Final = "backhaul_limit_used"
_SERVER: Final = (
    _Family("backhaul_server_status", "gauge", "1 while this server is connected, else 0.", "connected"),
    _Family("backhaul_server_in_use", "gauge", "1 while the client wants this server, else 0.", "in_use"),
    _Family("backhaul_server_reconnects_total", "counter", "Reconnections to this server.", "reconnects"),
)
_REFUSED: Final = "backhaul_refused_users_total"
_WAITING: Final = "backhaul_user_waiting_seconds"
_DURATION: Final = "backhaul_connection_duration_seconds"
_CERTIFICATE: Final = "backhaul_certificate_expiry_timestamp_seconds"


class Figures(NamedTuple):
    """The numbers of one moment."""

    status: Status
    usage: dict[int, int]
    """Bytes of each port."""
    times: Iterator[UserTimesState]
    """Read while the text is made."""
    certificates: Mapping[str, float]
    """The ends of the certificates that this end shows, in seconds since 1970, by file."""


_Rows = Iterable[tuple[str, float]]
"""Labels and value of samples."""


def slices(form: Form, figures: Figures) -> Iterator[bytes]:
    """Return the text in pieces, with little work between two of them."""
    status = figures.status
    common = f"{label('transport', status.transport)},{label('side', status.side)}"
    common += f",{label('tunnel', status.tunnel)}" if status.tunnel else ""
    yield "".join(_tunnel(form, figures, common)).encode()
    yield "".join(_usage(form, figures.usage, common)).encode()
    yield from (piece.encode() for piece in _clients(form, status, common))
    yield from (piece.encode() for piece in _groups(form, status, common))
    yield from (piece.encode() for piece in _ports(form, status, common))
    yield from (piece.encode() for piece in _servers(form, status, common))
    yield from (piece.encode() for piece in _limits(form, status, common))
    if status.side == "server":
        yield from (piece.encode() for piece in _times(form, figures.times, common))
    yield form.end()


def _tunnel(form: Form, figures: Figures, common: str) -> Iterator[str]:
    """Return the metrics whose size does not depend on the number of ports."""
    status = figures.status
    yield from _families(form, _TUNNEL, [(common, status)])
    yield form.head("backhaul_build_info", "gauge", "Always 1.")
    yield _lines("backhaul_build_info", [(f"{common},{label('version', status.version)}", 1)])
    if figures.certificates:
        yield form.head(_CERTIFICATE, "gauge", "Expiry of a certificate of the tunnel or page, in seconds since 1970.")
        yield _lines(
            _CERTIFICATE, ((f"{common},{label('file', file)}", end) for file, end in figures.certificates.items())
        )


def _usage(form: Form, usage: dict[int, int], common: str) -> Iterator[str]:
    yield form.head("backhaul_tunnel_usage", "gauge", "Bytes of a port in both directions.")
    yield _lines("backhaul_tunnel_usage", ((f'{common},port="{port}"', used) for port, used in usage.items()))


def _clients(form: Form, status: Status, common: str) -> Iterator[str]:
    rows = [(f"{common},{label('client', client.name or UNNAMED)}", client) for client in status.clients]
    if rows:
        yield from _families(form, _CLIENT, rows)


def _groups(form: Form, status: Status, common: str) -> Iterator[str]:
    rows = [
        (f"{common},{label('group', group.name)},{label('client', member.client)}", member)
        for group in status.groups
        for member in group.members
    ]
    if rows:
        yield from _families(form, _MEMBER, rows)


def _ports(form: Form, status: Status, common: str) -> Iterator[str]:
    rows = [(f"{common},{labels}", port) for labels, port in _merged(status.ports).items()]
    yield from _families(form, _PORT, rows)
    yield form.head(_REFUSED, "counter", "Users refused, by reason.")
    by_reason = (
        (f"{row},{label('reason', why)}", count) for row, port in rows for why, count in port.refused_by.items()
    )
    yield from _sliced(_REFUSED, by_reason)
    if status.side == "server":
        yield form.head("backhaul_port_up", "gauge", "1 while the port accepts users, else 0.")
        up = (
            (f"{common},{_port_labels(port.bind, port.port)}{_owner(port.group, port.client)}", port.up)
            for port in status.ports
        )
        yield from _sliced("backhaul_port_up", up)


def _servers(form: Form, status: Status, common: str) -> Iterator[str]:
    """Return the metrics of each server of a client that has several.

    A server whose transport changes is two with one name for a while; the connected one counts.
    """
    known = {one.name: one for one in sorted(status.servers, key=lambda one: one.connected)}
    rows = [(f"{common},{label('server', name)}", one) for name, one in known.items()]
    if rows:
        yield from _families(form, _SERVER, rows)


def _limits(form: Form, status: Status, common: str) -> Iterator[str]:
    """Return the limits that the configuration sets, so their number is that of its keys."""
    rows = [(f"{common},{label('table', one.table)},{label('limit', one.limit)}", one) for one in status.limits]
    if rows:
        yield form.head(_LIMIT, "gauge", "Limits of users, in bytes, bits a second, seconds or numbers.")
        yield from _sliced(_LIMIT, ((row, one.most) for row, one in rows))
        yield form.head(_LIMIT_USED, "gauge", "Use of each limit; of a limit per source, by the source that uses most.")
        yield from _sliced(_LIMIT_USED, ((row, one.used) for row, one in rows if one.used is not None))


def _merged(ports: Iterable[PortStatus]) -> dict[str, PortStatus]:
    """Return ports by their labels; two addresses may share port and target, but no two samples all labels."""
    merged: dict[str, PortStatus] = {}
    for port in ports:
        labels = _target_labels(port.bind, port.port, port.target, port.group, port.client)
        merged[labels] = _sum(merged[labels], port) if labels in merged else port
    return merged


def _sum(one: PortStatus, other: PortStatus) -> PortStatus:
    sums = {family.field: getattr(one, family.field) + getattr(other, family.field) for family in _PORT}
    return replace(one, **sums, refused_by=Counter(one.refused_by) + Counter(other.refused_by))


def _times(form: Form, times: Iterator[UserTimesState], common: str) -> Iterator[str]:
    """Return both histograms; the second one is made along with the first, so that each state is read once."""
    yield form.head(_WAITING, "histogram", "Time from the arrival of users until they had a tunnel connection.")
    later = [form.head(_DURATION, "histogram", "Time from the arrival of users to their end.")]
    while batch := list(islice(times, SLICE_OF_TIMES)):
        rows = [f"{common},{_client_labels(state)}" for state in batch]
        later.append(_histograms(_DURATION, rows, [state.duration for state in batch]))
        yield _histograms(_WAITING, rows, [state.waiting for state in batch])
    yield from later


def _histograms(name: str, rows: Sequence[str], states: Sequence[HistogramState]) -> str:
    """Return the lines of histograms with the same bounds; made by columns, it takes two thirds of the time."""
    buckets = list(accumulate(zip(*(state.counts for state in states), strict=True), _added))
    values = [*buckets, [state.total for state in states], buckets[-1]]
    columns: list[Iterable[str]] = []
    for (before, after), numbers in zip(_lines_of(name, states[0].bounds), values, strict=True):
        columns += repeat(before), rows, repeat(after), map(str, numbers), repeat("\n")
    return "".join(chain.from_iterable(zip(*columns, strict=False)))  # the constants have no end


def _added(one: Sequence[float], other: Sequence[float]) -> Sequence[float]:
    return list(map(add, one, other))


@cache
def _lines_of(name: str, bounds: tuple[float, ...]) -> list[tuple[str, str]]:
    """Return the text of the lines of a histogram before and after the labels."""
    buckets = [(f"{name}_bucket{{", f',le="{bound}"}} ') for bound in (*bounds, "+Inf")]
    return [*buckets, (f"{name}_sum{{", "} "), (f"{name}_count{{", "} ")]


def _families(form: Form, families: Iterable[_Family], rows: Sequence[tuple[str, object]]) -> Iterator[str]:
    """Return metrics of several things, each with its labels."""
    for name, kind, meaning, field in families:
        yield form.head(name, kind, meaning)
        value = attrgetter(field)
        for begin in range(0, len(rows), SLICE):
            some = rows[begin : begin + SLICE]
            yield _lines(name, [(row, number) for row, one in some if (number := value(one)) is not None])


def _sliced(name: str, rows: Iterator[tuple[str, float]]) -> Iterator[str]:
    while batch := list(islice(rows, SLICE)):
        yield _lines(name, batch)


def _lines(name: str, rows: _Rows) -> str:
    return "".join([f"{name}{{{row}}} {+value}\n" for row, value in rows])  # + makes a number of a bool


def _client_labels(row: UserTimesState) -> str:
    return f"{_port_labels(row.bind_host, row.bind_port)},{label('client', row.client or UNNAMED)}"


@lru_cache(maxsize=_KEPT_PORTS)
def _port_labels(bind: str, port: int) -> str:
    return f"{label('port', _number(bind, port))},{label('bind', bind)}"


@lru_cache(maxsize=_KEPT_PORTS)
def _target_labels(bind: str, port: int, target: str, group: str, client: str) -> str:
    return f"{label('port', _number(bind, port))},{label('target', target)}{_owner(group, client)}"


def _owner(group: str, client: str) -> str:
    """Return the label of the client with a name, or of the group."""
    if group:
        return f",{label('group', group)}"
    return f",{label('client', client)}" if client else ""


def _number(bind: str, port: int) -> str:
    """Return the port, or the path of a Unix socket."""
    return str(port) if port or not bind else port_name(bind, port)
