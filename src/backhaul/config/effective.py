"""The configuration in effect, in words; secrets as ``***``."""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from .keys import Key, keys
from .messages import show
from .schema import Config
from .secret import Secret


class Setting(NamedTuple):
    """A key with its value."""

    name: str
    value: str
    """As in TOML."""
    unit: str
    default: bool
    """True if this is the default."""


def settings(config: Config) -> Iterator[Setting]:
    """Return all keys of a configuration but ``ports``."""
    return (_setting(key, getattr(config, key.name)) for key in keys(type(config)) if key.name != "ports")


def _setting(key: Key, value: object) -> Setting:
    text = show(value) if isinstance(value, bool | int | str) else _plain(value)
    return Setting(key.name, text, key.traits.unit, value == key.default)


def _plain(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    if any(isinstance(one, Secret | Struct) for one in value):
        return f"[{', '.join(map(str, value))}]"
    return show(list(value))
