"""Values in lines about mistakes: on one line, short, and without characters that a terminal acts on."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.config import CLIENT, SERVER
from tests.support.texts import CHARACTERS

from backhaul.config import ConfigError
from backhaul.config.keys import keys
from backhaul.config.loader import parse
from backhaul.config.messages import brief, show
from backhaul.config.schema import SIDES

LONG = "x" * 100_000
BASES = {"server": SERVER, "client": CLIENT}
KEYS = [(side, key.name) for side, schema in SIDES.items() for key in keys(schema)]


def problems(side: str, line: str) -> tuple[str, ...]:
    """Return what is wrong with a file in which a line takes the place of that of the same key, if there is one."""
    name = line.partition(" ")[0]
    rest = [given for given in BASES[side].splitlines() if given.partition(" ")[0] != name]
    try:
        parse("\n".join([*rest, line]))
    except ConfigError as mistakes:
        return mistakes.problems
    return ()


@pytest.mark.parametrize("value", [f'"{LONG}"', f'["{LONG}"]', f'{{{LONG} = "{LONG}"}}', r'"\u202e\u001b[31m"'])
@pytest.mark.parametrize(("side", "name"), KEYS)
def test_no_value_makes_a_line_long_or_unprintable(side: str, name: str, value: str) -> None:
    found = problems(side, f"{name} = {value}")
    assert [problem for problem in found if len(problem) > 700 or not problem.isprintable()] == []


@pytest.mark.parametrize("side", SIDES)
def test_no_name_makes_a_line_long(side: str) -> None:
    warnings = parse(BASES[side] + f"{LONG} = 1\n").warnings
    (warning,) = [line for line in warnings if "unknown key" in line]
    assert len(warning) < 700


@given(st.text(CHARACTERS))
def test_a_shown_text_is_printable_and_that_of_the_file(text: str) -> None:
    shown = show(text)
    assert shown.isprintable()
    assert tomllib.loads(f"text = {shown}") == {"text": text}


@pytest.mark.parametrize(("size", "shown"), [(198, f'"{LONG[:198]}"'), (199, f'"{LONG[:199]}… (201 characters)')])
def test_only_the_beginning_of_a_long_value_is_shown(size: int, shown: str) -> None:
    assert brief(LONG[:size]) == shown
