"""The configuration in effect, in words; secrets as ``***``."""

from collections.abc import Iterator
from typing import NamedTuple

from .keys import Key, keys
from .schema import Config
from .tables import shown


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
    return Setting(key.name, shown(value), key.traits.unit, value == key.default)
