"""The entries of ``servers``, as the file has them."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from .messages import quoted, show
from .values import each

_SHOWN = frozenset({"addr", "transport", "edge_ip", "security", "path", "bind_interface"})  # none can hold a secret


class ServerTable(Struct, frozen=True):
    """The keys of one entry, not checked yet."""

    values: Mapping[str, object]

    def __str__(self) -> str:
        """Return the table as TOML; only keys that can't hold a secret have their value."""
        keys = (f"{quoted(name)} = {show(value) if name in _SHOWN else '***'}" for name, value in self.values.items())
        return f"{{{', '.join(keys)}}}"

    def __repr__(self) -> str:
        return str(self)


def parse_servers(entries: Iterable[object]) -> tuple[ServerTable, ...]:
    """Read a list of tables; raise ConfigError with every mistake."""
    return each(entries, _table, lambda number, _: str(number))


def _table(entry: object) -> ServerTable:
    if not isinstance(entry, dict):
        raise ValueError('expected a table such as {addr = "b.example:8443"}')  # noqa: TRY004 - a user's mistake
    return ServerTable({name.lower(): value for name, value in entry.items()})
