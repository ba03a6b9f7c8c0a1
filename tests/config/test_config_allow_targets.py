"""Entries of ``allow_targets``."""

import pytest
from tests.support.config import CLIENT, client, problems

from backhaul.config.messages import show


def test_allowed_targets() -> None:
    entries = ":22", "db.example:5432", "10.0.0.0/8:80-90", "[2001:db8::/32]", "*.example"
    lines = f"allow_targets = [{', '.join(map(show, entries))}]"
    assert client(lines).allow_targets == entries


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ('":22"', "expected a list of texts such as"),
        ("[22]", "entry 22: write it in quotes"),
        ('["10.0.0.1/8"]', 'entry "10.0.0.1/8": write the network as 10.0.0.0/8'),
        ('["a:0"]', 'entry "a:0": a port is a number from 1 to 65535'),
    ],
)
def test_refused_entries(value: str, complaint: str) -> None:
    (problem,) = problems(f"{CLIENT}\nallow_targets = {value}")
    assert problem.startswith(f"client.allow_targets: {complaint}")


def test_a_misspelt_key_does_not_allow_every_target() -> None:
    assert any(
        "client.allow_targets: missing; rename allow_target" in problem
        for problem in problems(f'{CLIENT}\nallow_target = [":22"]')
    )
