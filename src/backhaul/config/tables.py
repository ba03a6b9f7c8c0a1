"""The reading of tables such as ``[server.limits]`` or ``[server.clients.berlin]``, and their settings as text."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from .conversion import read
from .errors import ConfigError
from .keys import keys
from .messages import brief, hint, quoted, show
from .secret import Secret

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def read_table(
    schema: type[Struct], title: str, name: str, entry: object, mistake: Callable[[str], None]
) -> dict[str, Any]:
    """Return the values of the keys of a table with a name of its own; report every mistake."""
    if not NAME.fullmatch(name):
        mistake(f"{quoted(name)}: expected a name of at most 64 letters, digits, - and _")
    if not isinstance(entry, dict):
        mistake(f"{quoted(name)}: expected a table {title}, got {brief(entry)}")
        return {}
    return read_keys(schema, f"{quoted(name)}.", entry, mistake)


def read_keys(
    schema: type[Struct], prefix: str, table: Mapping[str, object], mistake: Callable[[str], None], *, noun: str = "key"
) -> dict[str, Any]:
    """Return the values of a table's keys; report every mistake, its key after ``prefix``.

    An unknown key is a mistake here, because a limit that is misspelt would not hold.
    """
    known = {one.name: one for one in keys(schema)}
    for name in table:
        if name not in known:
            mistake(f"{prefix}{quoted(name)}: unknown {noun}; remove it or correct it{hint(name, known)}")
    values: dict[str, Any] = {}
    for one in known.values():
        try:
            values[one.name] = read(one, table.get(one.name), misspelt=())
        except ConfigError as mistakes:
            for problem in mistakes.problems:
                mistake(f"{prefix}{one.name}: {problem}")
    return values


def settings(table: Struct, *without: str) -> str:
    """Return the settings of a table that differ from the defaults, as in an inline table, without secrets."""
    values = ((one, getattr(table, one.name)) for one in keys(type(table)) if one.name not in without)
    return ", ".join(f"{one.name} = {shown(value)}" for one, value in values if value != one.default)


def shown(value: object) -> str:
    """Write a value as in TOML, with ``***`` for secrets; an empty one is none."""
    if isinstance(value, bool | int | str):
        return show(value)
    if isinstance(value, Secret) and not value:
        return show("")
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {show(one)}' for name, one in value.items())}}}"
    if not isinstance(value, tuple):
        return str(value)
    if any(isinstance(one, Secret | Struct) for one in value):
        return f"[{', '.join(map(str, value))}]"
    return show(list(value))
