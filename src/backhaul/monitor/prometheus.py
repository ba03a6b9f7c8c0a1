"""The metrics: those of v0.7.2 under the same names, and more.

They are made in slices, between which the loop serves users: a thousand ports take 15 ms.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import Final, NamedTuple

from msgspec.structs import replace

from backhaul.addresses import port_name
from backhaul.state import UserTimesState

from .columns import SLICE, Row, histograms, joined, lines, make_row, sliced
from .exposition import Form, label
from .status import PortStatus, Status

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


def slices(form: Form, figures: Figures) -> Iterator[bytes]:
    """Return the text in pieces, with little work between two of them."""
    status = figures.status
    named = (label("tunnel", status.tunnel),) if status.tunnel else ()
    common = make_row(label("transport", status.transport), label("side", status.side), *named)
    yield b"".join(_tunnel(form, figures, common))
    yield b"".join(_usage(form, figures.usage, common))
    yield from _clients(form, status, common)
    yield from _groups(form, status, common)
    yield from _ports(form, status, common)
    yield from _servers(form, status, common)
    yield from _limits(form, status, common)
    if status.side == "server":
        yield from _times(form, figures.times, common)
    yield form.end()


def _tunnel(form: Form, figures: Figures, common: Row) -> Iterator[bytes]:
    """Return the metrics whose size does not depend on the number of ports."""
    status = figures.status
    yield from _families(form, _TUNNEL, [(common, status)])
    yield form.head("backhaul_build_info", "gauge", "Always 1.")
    yield lines("backhaul_build_info", [joined(common, make_row(label("version", status.version)))], [1])
    if figures.certificates:
        yield form.head(_CERTIFICATE, "gauge", "Expiry of a certificate of the tunnel or page, in seconds since 1970.")
        rows = [joined(common, make_row(label("file", file))) for file in figures.certificates]
        yield lines(_CERTIFICATE, rows, tuple(figures.certificates.values()))


def _usage(form: Form, usage: dict[int, int], common: Row) -> Iterator[bytes]:
    yield form.head("backhaul_tunnel_usage", "gauge", "Bytes of a port in both directions.")
    rows = [joined(common, make_row(f'port="{port}"')) for port in usage]
    yield lines("backhaul_tunnel_usage", rows, tuple(usage.values()))


def _clients(form: Form, status: Status, common: Row) -> Iterator[bytes]:
    rows = [(joined(common, make_row(label("client", one.name or UNNAMED))), one) for one in status.clients]
    if rows:
        yield from _families(form, _CLIENT, rows)


def _groups(form: Form, status: Status, common: Row) -> Iterator[bytes]:
    rows = [
        (joined(common, make_row(label("group", group.name), label("client", member.client))), member)
        for group in status.groups
        for member in group.members
    ]
    if rows:
        yield from _families(form, _MEMBER, rows)


def _ports(form: Form, status: Status, common: Row) -> Iterator[bytes]:
    rows = [(joined(common, labels), port) for labels, port in _merged(status.ports).items()]
    yield from _families(form, _PORT, rows)
    yield form.head(_REFUSED, "counter", "Users refused, by reason.")
    by_reason = (
        (joined(row, make_row(label("reason", why))), count)
        for row, port in rows
        for why, count in port.refused_by.items()
    )
    yield from sliced(_REFUSED, by_reason)
    if status.side == "server":
        yield form.head("backhaul_port_up", "gauge", "1 while the port accepts users, else 0.")
        up = (
            (joined(common, _spot_labels(port.bind, port.port, port.protocol, port.group, port.client)), port.up)
            for port in status.ports
        )
        yield from sliced("backhaul_port_up", up)


def _servers(form: Form, status: Status, common: Row) -> Iterator[bytes]:
    """Return the metrics of each server of a client that has several.

    A server whose transport changes is two with one name for a while; the connected one counts.
    """
    known = {one.name: one for one in sorted(status.servers, key=lambda one: one.connected)}
    rows = [(joined(common, make_row(label("server", name))), one) for name, one in known.items()]
    if rows:
        yield from _families(form, _SERVER, rows)


def _limits(form: Form, status: Status, common: Row) -> Iterator[bytes]:
    """Return the limits that the configuration sets, so their number is that of its keys."""
    rows = [
        (joined(common, make_row(label("table", one.table), label("limit", one.limit))), one) for one in status.limits
    ]
    if rows:
        yield form.head(_LIMIT, "gauge", "Limits of users, in bytes, bits a second, seconds or numbers.")
        yield from sliced(_LIMIT, ((row, one.most) for row, one in rows))
        yield form.head(_LIMIT_USED, "gauge", "Use of each limit; of a limit per source, by the source that uses most.")
        yield from sliced(_LIMIT_USED, ((row, one.used) for row, one in rows if one.used is not None))


def _merged(ports: Iterable[PortStatus]) -> dict[Row, PortStatus]:
    """Return ports by their labels; two addresses may share port and target, but no two samples all labels."""
    merged: dict[Row, PortStatus] = {}
    for port in ports:
        labels = _target_labels(port.bind, port.port, port.target, port.group, port.client)
        merged[labels] = _sum(merged[labels], port) if labels in merged else port
    return merged


def _sum(one: PortStatus, other: PortStatus) -> PortStatus:
    sums = {family.field: getattr(one, family.field) + getattr(other, family.field) for family in _PORT}
    return replace(one, **sums, refused_by=Counter(one.refused_by) + Counter(other.refused_by))


def _times(form: Form, times: Iterator[UserTimesState], common: Row) -> Iterator[bytes]:
    """Return both histograms; the second one is made along with the first, so that each state is read once."""
    yield form.head(_WAITING, "histogram", "Time from the arrival of users until they had a tunnel connection.")
    later = [form.head(_DURATION, "histogram", "Time from the arrival of users to their end.")]
    while batch := list(islice(times, SLICE_OF_TIMES)):
        rows = [joined(common, _client_labels(one.bind_host, one.bind_port, one.protocol, one.client)) for one in batch]
        later.append(histograms(_DURATION, rows, [state.duration for state in batch]))
        yield histograms(_WAITING, rows, [state.waiting for state in batch])
    yield from later


def _families(form: Form, families: Iterable[_Family], rows: Sequence[tuple[Row, object]]) -> Iterator[bytes]:
    """Return metrics of several things, each with its labels."""
    batches = [tuple(zip(*rows[begin : begin + SLICE], strict=True)) for begin in range(0, len(rows), SLICE)]
    for name, kind, meaning, field in families:
        yield form.head(name, kind, meaning)
        for labels, things in batches:
            yield _known(name, labels, tuple(map(attrgetter(field), things)))


def _known(name: str, rows: tuple[Row, ...], values: tuple[float | None, ...]) -> bytes:
    """Return the lines of values that are not None."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        rows = tuple(row for row, value in zip(rows, values, strict=True) if value is not None)
    return lines(name, rows, known)


@lru_cache(maxsize=_KEPT_PORTS)
def _client_labels(bind: str, port: int, protocol: str, client: str) -> Row:
    return make_row(*_place(bind, port, protocol), label("client", client or UNNAMED))


@lru_cache(maxsize=_KEPT_PORTS)
def _spot_labels(bind: str, port: int, protocol: str, group: str, client: str) -> Row:
    return make_row(*_place(bind, port, protocol), *_owner(group, client))


@lru_cache(maxsize=_KEPT_PORTS)
def _target_labels(bind: str, port: int, target: str, group: str, client: str) -> Row:
    return make_row(label("port", _number(bind, port)), label("target", target), *_owner(group, client))


def _place(bind: str, port: int, protocol: str) -> tuple[str, ...]:
    """Return labels that no other port has; the protocol only if an entry names it."""
    named = (label("protocol", protocol),) if protocol else ()
    return label("port", _number(bind, port)), label("bind", bind), *named


def _owner(group: str, client: str) -> tuple[str, ...]:
    """Return the label of the client with a name, or of the group."""
    if group:
        return (label("group", group),)
    return (label("client", client),) if client else ()


def _number(bind: str, port: int) -> str:
    """Return the port, or the path of a Unix socket."""
    return str(port) if port or not bind else port_name(bind, port)
