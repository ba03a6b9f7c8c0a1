"""Wording of values, choices, lists and misspelt names for the administrator."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import json

from backhaul.security.psk import GENERATED

_NAMED = 5  # names in one line
_LONGEST = 200  # characters of a value in one line
_TOKEN = re.compile(rf"{GENERATED.decode()}[^/]+")
TOML_INT_BITS = 64  # guaranteed by TOML; Python reads longer numbers, but refuses to print the longest


def show(value: object) -> str:
    """Write a value on one line, nearly as in the file: lists one level deep, tables by their kind."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return "".join(c if c.isprintable() else _escaped(c) for c in json.encode(value).decode())
        case float():
            return str(value)
        case int():
            return str(value) if value.bit_length() <= TOML_INT_BITS else "a number of more than 64 bits"
        case list():
            return f"[{', '.join(kind(item) if isinstance(item, list) else show(item) for item in value)}]"
        case _:
            return kind(value)


def _escaped(character: str) -> str:
    """Return an escape of TOML, for example for characters that change the direction of a text."""
    code = ord(character)
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def brief(value: object) -> str:
    """Write a value as ``show`` does, but only the beginning of a long one."""
    text = show(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def unreadable(path: str, error: OSError) -> str:
    """Return the objection to a file that can't be read."""
    return f"cannot read {brief(path)}{_start(path)}: {error.strerror}; correct the path or its permissions"


def _start(path: str) -> str:
    """Return where a relative name starts: a service or container has its own directory for that."""
    try:
        return "" if os.path.isabs(path) else f" in {Path.cwd()}"  # noqa: PTH117
    except OSError:  # this directory has been removed
        return ""


def no_path(path: str) -> str:
    """Return the objection to a text that is no path, and not shown: a key in place of its file, or a token; or ""."""
    several, token = len(path.splitlines()) > 1, _TOKEN.fullmatch(path)
    found = "several lines of text" if several else "a token"
    return f"expected the path of a file, got {found}; save it in a file, and name that" if several or token else ""


def kind(value: object) -> str:
    """Name the kind of a TOML value without showing the value."""
    kinds = {
        bool: "true or false",
        str: "text",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a table",
    }
    return kinds.get(type(value), "a date or time")


def choices(options: Iterable[str]) -> str:
    """Join quoted options: ``"a", "b" or "c"``."""
    *most, last = (f'"{option}"' for option in options)
    return f"{', '.join(most)} or {last}" if most else last


def few(names: Sequence[str]) -> str:
    """Join the first names, and give the number of the others."""
    more = [f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])


def hint(word: str, options: Iterable[str]) -> str:
    """Return ``; did you mean ``x``?`` for the option nearest to a mistyped word, or "" when none is near."""
    option = nearest(word, options)
    return f"; did you mean `{option}`?" if option else ""


def nearest(word: str, options: Iterable[str]) -> str:
    """Return the option that a word resembles, or "" when none is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - needed for a mistake only

    return next(iter(get_close_matches(word.lower(), list(options), n=1)), "")


def quoted(name: str) -> str:
    """Quote a key that TOML cannot hold bare, such as one with a line break."""
    return name if len(name) <= _LONGEST and name.replace("-", "_").isidentifier() else brief(name)
