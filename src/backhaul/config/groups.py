"""The tables ``[server.groups.NAME]``: ports that several clients serve together."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from msgspec import Struct

from .errors import ConfigError
from .keys import key
from .messages import show
from .ports import PortMapping, parse_ports
from .tables import read_table
from .values import each

Balance = Literal["least", "source", "order"]

_CLIENTS: Final = "a list of names of clients"


def parse_members(entries: Iterable[object]) -> tuple[str, ...]:
    """Read a list of names; raise ConfigError with every mistake."""
    return each(entries, _member, lambda _, entry: show(entry))


def _member(entry: object) -> str:
    if not isinstance(entry, str):
        raise ValueError("write it in quotes")  # noqa: TRY004 - a user's mistake
    return entry


class ServedGroup(Struct, frozen=True, kw_only=True):
    """A group of clients."""

    ports: Annotated[
        tuple[PortMapping, ...],
        key("Local ports and their targets; see Port mappings.", form="a list of texts", parse=parse_ports),
    ] = ()
    clients: Annotated[tuple[str, ...], key("The clients that serve them.", form=_CLIENTS, parse=parse_members)] = ()
    balance: Annotated[
        Balance,
        key("The client of a new user: the one with the fewest users, by the user's address, or the first in order."),
    ] = "least"
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
    return f"clients = {show(list(group.clients))}, balance = {show(group.balance)}"


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
