"""A table of another program's file, from which settings are taken one by one."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from backhaul.config.messages import kind, quoted

from .draft import ConvertError

Value = TypeVar("Value", str, int, bool, list[object])


class Table:
    """The settings of a table by their dotted names; those that are never taken are left over."""

    def __init__(self, values: Mapping[str, object], file: str, within: str = "") -> None:
        self._values = dict(_flat(values, ""))
        self._file = file
        self._within = within
        self.title = quoted(str(values.get("name", "")))

    def holds_text(self, name: str) -> bool:
        """Return whether a setting is a text."""
        return isinstance(self._values.get(name), str)

    def key(self, name: str) -> str:
        """Return the file, and the name of a setting in it."""
        return f"{self._file}: {self._within}{name}".rstrip(".")

    def look(self, name: str) -> str:
        """Return a text without taking it, an empty one if it is missing."""
        return str(self._values.get(name, ""))

    def text(self, name: str, default: str = "") -> str:
        """Take a text; raise ConvertError for any other value."""
        return self._take(name, default)

    def number(self, name: str, default: int = 0) -> int:
        """Take a whole number; raise ConvertError for any other value."""
        return self._take(name, default)

    def flag(self, name: str, *, default: bool) -> bool:
        """Take true or false; raise ConvertError for any other value."""
        return self._take(name, default)

    def texts(self, name: str) -> list[str]:
        """Take a list of texts; raise ConvertError for any other value."""
        return [str(one) for one in self._take(name, list[object]())]

    def tables(self, name: str) -> "list[Table]":
        """Take a list of tables; each is called by its ``name``."""
        found = []
        for number, values in enumerate(self._take(name, list[object]()), 1):
            if not isinstance(values, dict):
                raise ConvertError(f"{self.key(name)}: expected tables, got {kind(values)}; correct it")
            found.append(Table(values, self._file, f"{self._within}{name}.{quoted(str(values.get('name', number)))}."))
        return found

    def named_tables(self, name: str) -> "dict[str, Table]":
        """Take all tables below ``name``, by their names."""
        found: dict[str, dict[str, object]] = {}
        for path in [path for path in self._values if path.startswith(f"{name}.")]:
            title, _, setting = path.removeprefix(f"{name}.").rpartition(".")
            found.setdefault(title, {})[setting] = self._values.pop(path)
        return {title: Table(values, self._file, f"{self._within}{name}.{title}.") for title, values in found.items()}

    def left_over(self) -> Iterator[str]:
        """Yield the names of the settings that nothing has taken."""
        yield from self._values

    def _take(self, name: str, default: Value) -> Value:
        value = self._values.pop(name, default)
        if type(value) is not type(default):
            raise ConvertError(f"{self.key(name)}: expected {kind(default)}, got {kind(value)}; correct it")
        return value


def _flat(values: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        path = f"{prefix}{quoted(name)}"
        if isinstance(value, dict):
            yield from _flat(value, f"{path}.")
        else:
            yield path, value
