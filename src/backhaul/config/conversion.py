"""The conversion of one value of the file into the type of its key."""

from collections.abc import Iterable

import msgspec

from .errors import ConfigError
from .keys import Key
from .messages import brief, hint, kind, nearest, quoted


def read(key: Key, raw: object, *, misspelt: Iterable[str]) -> object:
    """Return the typed value, or the default where the file has none; raise ConfigError.

    ``misspelt`` holds the unknown names in the file: one of them may be a misspelt mandatory key, or a misspelt key
    whose default would be less secure.
    """
    if raw is None or _unset(key, raw):
        near = nearest(key.name, misspelt) if key.traits.example else ""
        if key.mandatory or near:
            rename = f"rename {quoted(near)}, or " if near else ""
            raise ConfigError([f"missing; {rename}add {key.name} = {key.traits.example}"])
        return key.default
    try:
        return _convert(key, raw)
    except msgspec.ValidationError:
        raise ConfigError([_refusal(key, raw)]) from None
    except ValueError as detail:
        raise ConfigError([_refusal(key, raw) + (f" ({detail})" if str(detail) else "")]) from None


def _unset(key: Key, raw: object) -> bool:
    """Return whether v0.7.2 would use its default: for an empty text or list, or a 0 outside the limits."""
    if key.value_type is int:
        return type(raw) is int and raw == 0 and key.meta.ge == 1
    return key.value_type is not bool and raw == key.raw_type()


def _convert(key: Key, raw: object) -> object:
    if key.traits.parse is None or type(raw) is key.value_type is int:  # a rate is a number, or text with a unit
        return msgspec.convert(raw, key.annotated, strict=True)
    return key.traits.parse(msgspec.convert(raw, key.raw_type, strict=True))


def _refusal(key: Key, raw: object) -> str:
    got = kind(raw) if key.secret else brief(raw)
    near = hint(raw, key.options) if isinstance(raw, str) and key.options else ""
    return f"expected {key.expected(raw)}, got {got}{near}"
