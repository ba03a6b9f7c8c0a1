"""The contents that a state may have."""

from collections.abc import Iterator
from typing import Any

import msgspec.inspect as types

from backhaul.state import State

NUMBERS = {types.BoolType, types.IntType, types.FloatType}


def leaves(kind: Any, name: str = "") -> Iterator[tuple[str, type]]:  # noqa: ANN401 - any type
    """Return the fields below ``kind`` that hold a single value, with its type."""
    if isinstance(kind, types.UnionType):
        for member in kind.types:
            yield from leaves(member)
    elif isinstance(kind, types.StructType):
        for field in kind.fields:
            yield from leaves(field.type, field.name)
    elif isinstance(kind, types.VarTupleType):
        yield from leaves(kind.item_type, name)
    else:
        yield name, type(kind)


def test_a_state_holds_numbers_and_few_texts() -> None:
    """A new text is a place where a secret could hide: check that before you add it here."""
    found = set(leaves(types.type_info(State)))
    texts = {name for name, kind in found if kind is types.StrType}
    assert texts == {
        "allow_targets",
        "balance",
        "bind_host",
        "client",
        "failure",
        "health",
        "limit",
        "name",
        "peer",
        "problem",
        "protocol",
        "reason",
        "table",
        "target",
        "transport",
        "unit",
    }
    assert {kind for _, kind in found} == {*NUMBERS, types.StrType, types.LiteralType}
