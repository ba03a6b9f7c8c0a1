"""The metadata of a key beside its type: unit, limits, meaning, and the transports on which it has an effect."""

from collections.abc import Callable
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import fields

from backhaul.wire.transports import TRANSPORTS, TransportName

from .messages import choices
from .secret import Secret

ALL: tuple[TransportName, ...] = get_args(TransportName)
# Sets of transports on which keys have an effect, in the order of the table of transports.
TCP = tuple(one.name for one in TRANSPORTS.values() if not one.http and not one.datagrams)
STREAM = tuple(one.name for one in TRANSPORTS.values() if not one.datagrams)
UDP = tuple(one.name for one in TRANSPORTS.values() if one.datagrams)
DEDICATED = tuple(one.name for one in TRANSPORTS.values() if not one.mux and not one.datagrams)
MUX = tuple(one.name for one in TRANSPORTS.values() if one.mux)
WEB = tuple(one.name for one in TRANSPORTS.values() if one.http)
TLS = tuple(one.name for one in TRANSPORTS.values() if one.tls)

INT_MAX = 2**31 - 1  # a C int, as in socket options and smux; more than any timer or queue needs
"""The limit of numbers that have no natural one; messages name it only for values above it."""


class Traits(Struct, frozen=True, kw_only=True):
    """The part of a key's metadata for which msgspec has no field."""

    unit: str
    on: tuple[TransportName, ...]
    rebuild: bool
    protects: bool
    restart: bool
    form: str
    parse: Callable[[Any], object] | None
    example: str


class Key(Struct, frozen=True):
    """One key of a side's table, as the loader, the diff and the reference see it."""

    name: str
    annotated: Any
    default: Any
    meta: Meta
    traits: Traits

    @property
    def value_type(self) -> object:
        """The type without its metadata."""
        return get_args(self.annotated)[0]

    @property
    def raw_type(self) -> type[list[object]] | type[dict[str, object]] | type[str]:
        """The type that a value read by ``parse`` has in the file; a struct is a table there."""
        if get_origin(self.value_type) is tuple:
            return list[object]
        return dict[str, object] if isinstance(self.default, Struct) else str

    @property
    def mandatory(self) -> bool:
        """True if the file must set the key."""
        return self.default is NODEFAULT

    @property
    def secret(self) -> bool:
        """True if the value must never be shown."""
        return self.value_type is Secret or Secret in get_args(self.value_type)

    @property
    def options(self) -> tuple[str, ...]:
        """The allowed words; empty for free text and for values that are no text."""
        if get_origin(self.value_type) is Literal:
            return get_args(self.value_type)
        element = next(iter(get_args(self.value_type)), NoneType)
        return get_args(element) if get_origin(element) is Literal else ()

    def expected(self, value: object = None) -> str:
        """Describe the values allowed; with the refused ``value``, name the limit that it exceeds."""
        if self.traits.form:
            return self.traits.form
        if self.value_type is bool:
            return "true or false"
        if self.value_type is int:
            return self._number(value)
        if get_origin(self.value_type) is tuple:
            return f"a list of {choices(self.options)}"
        return choices(self.options) if self.options else "text in quotes"

    def _number(self, value: object) -> str:
        noun = f"a whole number of {self.traits.unit}" if self.traits.unit else "a whole number"
        low, high = self.meta.ge, self.meta.le
        if high != INT_MAX:
            return f"{noun} from {low} to {high}"
        return f"{noun} ≤ {high}" if isinstance(value, int) and value > high else f"{noun} ≥ {low}"


def key(
    meaning: str,
    *,
    ge: int | None = None,
    le: int | None = None,
    unit: str = "",
    on: tuple[TransportName, ...] = ALL,
    rebuild: bool = False,
    protects: bool = False,
    restart: bool = False,
    form: str = "",
    parse: Callable[[Any], object] | None = None,
    example: str = "",
) -> Meta:
    """Describe a key of the schema.

    meaning  one sentence for the reference
    ge, le   the least and the greatest number; with ``ge`` alone the limit is INT_MAX
    on       the transports on which it has an effect
    rebuild  a change needs a new control channel and a new pool
    protects a change needs the same, and the old tunnel must not be used any longer
    restart  a change requires a restart; with neither this nor ``rebuild`` it takes effect in place
    form     the expected values in words, where the type does not tell
    parse    turns the text (or list) of the file into the value; raises ValueError or ConfigError
    example  the value to suggest where the key is mandatory or misspelt
    """
    traits = Traits(
        unit=unit,
        on=on,
        rebuild=rebuild or protects,
        protects=protects,
        restart=restart,
        form=form,
        parse=parse,
        example=example,
    )
    limit = INT_MAX if le is None and ge is not None else le
    return Meta(ge=ge, le=limit, description=meaning, extra={"traits": traits})


@cache
def keys(side: type[Struct]) -> tuple[Key, ...]:
    """Return the keys of a side's schema in order; fields without metadata are not keys of the file."""
    return tuple(
        Key(field.name, field.type, field.default, meta, meta.extra["traits"])
        for field in fields(side)
        for meta in getattr(field.type, "__metadata__", ())
    )
