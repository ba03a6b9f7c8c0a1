"""The removal of secrets from a text of others, such as lines of a log."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import asdict

from backhaul.net.proxy import Proxy
from backhaul.security.psk import GENERATED

from .schema import Config
from .secret import Secret

_LEAST: Final = 8  # characters: a shorter one stands in many words, and its absence would tell which one it is
_HIDDEN: Final = str(Secret(""))
_TOKEN: Final = re.compile(rf"{GENERATED.decode()}[\w-]{{20,}}")


def hide(text: str, config: Config | None) -> str:
    """Return a text with ``***`` for every generated token, and for the secrets of a configuration."""
    text = _TOKEN.sub(_HIDDEN, text)
    known = {secret for secret in _secrets(config) if len(secret) >= _LEAST}
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


def _secrets(value: object) -> Iterator[str]:
    """Yield the secrets in a value of the schema, and passwords in them."""
    if isinstance(value, Secret):
        yield value.reveal()
        yield from _password(value.reveal())
    elif isinstance(value, Proxy):  # of the environment
        yield value.password
    elif isinstance(value, Struct):
        yield from _secrets(tuple(asdict(value).values()))
    elif isinstance(value, dict):
        yield from _secrets(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _secrets(one)


def _password(url: str) -> Iterator[str]:
    try:
        yield urlsplit(url).password or ""
    except ValueError:  # no URL
        return
