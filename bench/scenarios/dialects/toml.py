"""TOML, as far as the configuration files need it."""

import json
from collections.abc import Mapping


def section(name: str, values: Mapping[str, object]) -> str:
    """Write one section; the name ``[x]`` makes an element of an array of tables."""
    return f"[{name}]\n{pairs(values)}"


def pairs(values: Mapping[str, object]) -> str:
    """Write keys, which may be dotted, with their values, one a line."""
    # JSON's strings, numbers, booleans and arrays of them are valid TOML.
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
