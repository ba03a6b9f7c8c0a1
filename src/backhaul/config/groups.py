"""The tables ``[server.groups.NAME]``: ports that several clients serve together."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from msgspec import Struct

from backhaul.wire.checks import MAX_INTERVAL, MAX_PATH, MAX_RUN

from .errors import ConfigError
from .keys import key
from .messages import brief, show
from .ports import PORTS_KEY, PortMapping
from .tables import read_table, settings
from .values import each

Balance = Literal["least", "source", "order"]

CONNECTION: Final = "tcp"
"""The kind of health check that only connects."""
_CLIENTS: Final = "a list of names of clients"


def parse_members(entries: Iterable[object]) -> tuple[str, ...]:
    """Read a list of names; raise ConfigError with every mistake."""
    return each(entries, _member, lambda _, entry: brief(entry))


def _member(entry: object) -> str:
    if not isinstance(entry, str):
        raise ValueError("write it in quotes")  # noqa: TRY004 - a user's mistake
    return entry


def parse_health(text: str) -> str:
    """Read the kind of a health check."""
    path = text.removeprefix("http:")
    if text in {"", CONNECTION}:
        return text
    if path == text or not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError
    if len(path) > MAX_PATH:
        raise ValueError(f"the path is longer than {MAX_PATH} characters")
    return text


class ServedGroup(Struct, frozen=True, kw_only=True):
    """A group of clients."""

    ports: Annotated[tuple[PortMapping, ...], PORTS_KEY] = ()
    clients: Annotated[tuple[str, ...], key("The clients that serve them.", form=_CLIENTS, parse=parse_members)] = ()
    balance: Annotated[
        Balance,
        key("The client of a new user: the one with the fewest users, by the user's address, or the first in order."),
    ] = "least"
    health: Annotated[
        str,
        key(
            "How each client checks the target of the first port; empty: not at all.",
            form='"tcp", or "http:" and a path such as "http:/healthz"',
            parse=parse_health,
        ),
    ] = ""
    health_interval: Annotated[int, key("Time between checks.", ge=1, le=MAX_INTERVAL, unit="seconds")] = 5
    health_rise: Annotated[int, key("Good checks in a row that make a client healthy.", ge=1, le=MAX_RUN)] = 2
    health_fall: Annotated[int, key("Bad checks in a row that make it unhealthy.", ge=1, le=MAX_RUN)] = 1
    name: str = ""
    """Not a key."""

    @property
    def table(self) -> str:
        """The beginning of the names of its keys."""
        return f"groups.{self.name}."


class GroupTables(Struct, frozen=True):
    """The groups, in the order of the file."""

    named: tuple[ServedGroup, ...] = ()

    def __str__(self) -> str:
        """Return their settings as inline tables of TOML."""
        return f"{{{', '.join(f'{group.name} = {{{_settings(group)}}}' for group in self.named)}}}"


def _settings(group: ServedGroup) -> str:
    balanced = f"clients = {show(list(group.clients))}, balance = {show(group.balance)}"
    return ", ".join(filter(None, [balanced, settings(group, "ports", "clients", "balance")]))


def parse_groups(table: Mapping[str, object]) -> GroupTables:
    """Read the tables; raise ConfigError with every mistake."""
    problems: list[str] = []
    named = []
    for name, entry in table.items():
        values: dict[str, Any] = read_table(ServedGroup, "[server.groups.NAME]", name, entry, problems.append)
        named.append(ServedGroup(name=name, **values))
    if problems:
        raise ConfigError(problems)
    return GroupTables(tuple(named))
