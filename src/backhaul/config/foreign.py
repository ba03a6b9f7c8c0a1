"""Configurations that a running program is sent, as texts: the reader must not be led to a pipe or a device.

Opening a pipe, or reading a device, may take forever.
"""

import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from .errors import ConfigError
from .loader import parse_usable
from .messages import brief
from .schema import Config

_READ: Final = frozenset(
    {
        *("token_file", "tls_cert", "tls_key", "tls_ca"),
        *("web_cert", "web_key", "web_client_ca", "allow_file", "deny_file"),
    }
)


def parse_foreign(text: str, environment: Mapping[str, str]) -> Config:
    """Read a configuration like ``parse_usable``; files that it names must be ordinary ones. Raises ConfigError."""
    text = text.removeprefix("\ufeff")  # as at the beginning of a file
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError):
        document = {}  # the loader reports the mistake
    if problems := list(_special(document)):
        raise ConfigError(problems)
    return parse_usable(text, environment)


def _special(table: dict[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from (f"{name}.{problem}" for problem in _special(inner))
        if name.lower() in _READ and isinstance(value, str) and _is_special(value):
            yield f"{name}: {brief(value)} is a pipe, a device or a socket; name an ordinary file"


def _is_special(path: str) -> bool:
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
