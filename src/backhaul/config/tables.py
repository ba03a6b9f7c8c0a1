"""The reading of a table with a name of its own, such as ``[server.clients.berlin]``."""

import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from .conversion import read
from .errors import ConfigError
from .keys import keys
from .messages import hint, quoted, show

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def read_table(
    schema: type[Struct], title: str, name: str, entry: object, mistake: Callable[[str], None]
) -> dict[str, Any]:
    """Return the values of a table's keys; report every mistake.

    An unknown key is a mistake here, because a limit that is misspelt would not hold.
    """
    if not _NAME.fullmatch(name):
        mistake(f"{quoted(name)}: expected a name of at most 64 letters, digits, - and _")
    if not isinstance(entry, dict):
        mistake(f"{quoted(name)}: expected a table {title}, got {show(entry)}")
        return {}
    known = {one.name: one for one in keys(schema)}
    for word in entry:
        if word not in known:
            mistake(f"{quoted(name)}.{quoted(word)}: unknown key; remove it or correct it{hint(word, known)}")
    values: dict[str, Any] = {}
    for one in known.values():
        try:
            values[one.name] = read(one, entry.get(one.name), misspelt=())
        except ConfigError as mistakes:
            for problem in mistakes.problems:
                mistake(f"{quoted(name)}.{one.name}: {problem}")
    return values
