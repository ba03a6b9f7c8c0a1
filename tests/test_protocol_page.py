"""The compatibility rules of docs/protocol.md and the tests that name them belong together."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "protocol.md"
NAMED = re.compile(r"\bdef test_r(\d\d)_|\bR(\d+)\b")  # a test's name, or a docstring or comment


def rules() -> list[int]:
    """Return the numbers of the rules in the order of the page."""
    return [int(number) for number in re.findall(r"^- \*\*R(\d+)\*\*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)]


def named(path: Path) -> set[int]:
    """Return the numbers of the rules that a file of tests names."""
    return {int(name or text) for name, text in NAMED.findall(path.read_text(encoding="utf-8"))}


def test_each_rule_has_one_number_and_none_is_missing() -> None:
    assert sorted(rules()) == list(range(1, len(rules()) + 1))


def test_every_rule_that_a_test_names_exists() -> None:
    unknown = {
        path.name: missing for path in ROOT.glob("tests/**/test_*.py") if (missing := named(path) - set(rules()))
    }
    assert unknown == {}


def test_every_rule_is_named_by_a_test() -> None:
    mine = Path(__file__)
    tested = set().union(*(named(path) for path in ROOT.glob("tests/**/test_*.py") if path != mine))
    assert set(rules()) - tested == set()
