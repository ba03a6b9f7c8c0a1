"""The tables ``[server.limits]`` and ``[server.limits.PORT]``."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from backhaul.networks import parse_network
from backhaul.wire.targets import MAX_PORT

from .errors import ConfigError
from .keys import key
from .messages import brief, quoted
from .quantities import UTC, parse_rate, parse_size, parse_zone
from .tables import read_keys, settings
from .values import each


def parse_networks(entries: Iterable[object]) -> tuple[str, ...]:
    """Read a list of networks; raise ConfigError with every mistake."""
    return each(entries, _network, lambda _, entry: brief(entry))


def _network(entry: object) -> str:
    if not isinstance(entry, str):
        raise ValueError("write it in quotes")  # noqa: TRY004 - a user's mistake
    return str(parse_network(entry))


_NETWORKS: Final = 'a list of networks such as "10.0.0.0/8", "192.0.2.7" or "2001:db8::/32"'
_RATE: Final = 'a number of bits, or text such as "100 Mbit/s"'
_MOST_RATE: Final = 10**15  # bits
_SIZE: Final = 'a number of bytes, or text such as "500 GB"'
_MOST_SIZE: Final = 10**18  # bytes


QuotaAction = Literal["refuse", "log"]
QUOTA_ACTION: Final = (
    "What happens when the bytes of a day or month are used up: refuse and reset users, or only log it."
)


def size_key(meaning: str) -> Meta:
    """Describe a key for a number of bytes."""
    return key(meaning, ge=0, le=_MOST_SIZE, form=_SIZE, parse=parse_size)


def rate_key(meaning: str) -> Meta:
    """Describe a key for a number of bits a second."""
    return key(meaning, ge=0, le=_MOST_RATE, form=_RATE, parse=parse_rate)


IdleTimeout = Annotated[int, key("Longest time without a byte, either way.", ge=0, unit="seconds")]
MaxLifetime = Annotated[int, key("Longest life of a connection.", ge=0, unit="seconds")]
Allow = Annotated[tuple[str, ...], key("Sources that may connect; empty: all.", form=_NETWORKS, parse=parse_networks)]
AllowFile = Annotated[str, key("A file with more of `allow`, one network on each line.")]
Deny = Annotated[
    tuple[str, ...],
    key("Sources that may not connect, even if `allow` has them.", form=_NETWORKS, parse=parse_networks),
]
DenyFile = Annotated[str, key("A file with more of `deny`, one network on each line.")]


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of all users together, or of those of one port; zeros and empty lists set none."""

    max_users: Annotated[int, key("Maximum number of users at a time.", ge=0)] = 0
    max_users_per_source: Annotated[int, key("Maximum number of users at a time from one source.", ge=0)] = 0
    new_users_per_second: Annotated[int, key("Maximum number of new users a second.", ge=0)] = 0
    new_users_per_second_per_source: Annotated[
        int, key("Maximum number of new users a second from one source.", ge=0)
    ] = 0
    rate: Annotated[int, rate_key("Maximum bits a second, each way.")] = 0
    rate_per_source: Annotated[int, rate_key("Maximum bits a second of one source, each way.")] = 0
    bytes_per_day: Annotated[int, size_key("Maximum bytes a day, both ways together.")] = 0
    bytes_per_day_per_source: Annotated[int, size_key("Maximum bytes a day of one source.")] = 0
    bytes_per_month: Annotated[int, size_key("Maximum bytes a month, both ways together.")] = 0
    bytes_per_month_per_source: Annotated[int, size_key("Maximum bytes a month of one source.")] = 0
    quota_action: Annotated[QuotaAction, key(QUOTA_ACTION)] = "refuse"
    quota_time_zone: Annotated[
        str,
        key(
            "Where days and months begin; only in `[server.limits]`, for all ports.",
            form='the name of a time zone, such as "UTC" or "Europe/Berlin"',
            parse=parse_zone,
        ),
    ] = UTC
    idle_timeout: IdleTimeout = 0
    max_lifetime: MaxLifetime = 0
    allow: Allow = ()
    allow_file: AllowFile = ""
    deny: Deny = ()
    deny_file: DenyFile = ""


NO_LIMITS: Final = Limits()
ALL_PORTS: Final = 0


class LimitTables(Struct, frozen=True):
    """The limits of all ports together, those of single ports by number, and those of single clients by name."""

    everywhere: Limits = NO_LIMITS
    ports: tuple[tuple[int, Limits], ...] = ()
    clients: tuple[tuple[str, Limits], ...] = ()
    """From the tables of the clients, which have few of the limits."""

    def __str__(self) -> str:
        """Return the limits that are set, as inline tables of TOML."""
        tables = [settings(self.everywhere), *(f"{port} = {{{settings(limits)}}}" for port, limits in self.ports)]
        return f"{{{', '.join(filter(None, tables))}}}"

    def named(self) -> Iterator[tuple[str, Limits, int]]:
        """Return the tables that set limits, with their names and ports."""
        if self.everywhere != NO_LIMITS:
            yield "limits", self.everywhere, ALL_PORTS
        for port, limits in self.ports:
            yield f"limits.{port}", limits, port

    @property
    def every(self) -> tuple[Limits, ...]:
        """All limits, of whatever they are."""
        return self.everywhere, *(limits for _, limits in (*self.ports, *self.clients))

    @property
    def files(self) -> dict[str, str]:
        """The files with networks, by the name of their key."""
        ports = ((table, limits) for table, limits, _ in self.named())
        return {
            f"{table}.{name}": path
            for table, limits in (*ports, *((f"clients.{client}", limits) for client, limits in self.clients))
            for name, path in (("allow_file", limits.allow_file), ("deny_file", limits.deny_file))
            if path
        }


def parse_limits(table: Mapping[str, object]) -> LimitTables:
    """Read the tables; raise ConfigError with every mistake."""
    problems: list[str] = []
    own = {name: value for name, value in table.items() if not isinstance(value, dict)}
    ports = {name: value for name, value in table.items() if isinstance(value, dict)}
    everywhere = _limits(own, "", problems.append)
    single = tuple(
        (_port(name, problems.append), _limits(value, f"{quoted_port(name)}.", problems.append))
        for name, value in ports.items()
    )
    problems += [f"{port}.quota_time_zone: set it in [server.limits], for all ports" for port in _with_zone(single)]
    if problems:
        raise ConfigError(problems)
    return LimitTables(everywhere, single)


def _with_zone(ports: Iterable[tuple[int, Limits]]) -> Iterable[int]:
    return (port for port, limits in ports if limits.quota_time_zone != UTC)


def quoted_port(name: str) -> str:
    """Return the name of a port's table, in quotes where TOML needs them."""
    return name if name.isdigit() else quoted(name)


def _port(name: str, mistake: Callable[[str], None]) -> int:
    if name.isascii() and name.isdigit() and name == str(port := int(name[:6])) and 0 < port <= MAX_PORT:
        return port
    mistake(f"{quoted_port(name)}: expected the number of a port, such as [server.limits.443]")
    return 0


def _limits(table: Mapping[str, object], prefix: str, mistake: Callable[[str], None]) -> Limits:
    return Limits(**read_keys(Limits, prefix, table, mistake, noun="limit"))
