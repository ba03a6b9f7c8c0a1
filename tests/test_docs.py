"""The pages of docs/ agree with the code and with the tests."""

import re
from pathlib import Path

import pytest
from tests.support.pages import PAGES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "protocol.md"
SOURCE = ROOT / "src" / "backhaul"
MODULE = re.compile(r"`([\w/]+\.py)`")
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


@pytest.mark.parametrize("page", ["architecture", "glossary", "protocol"])
def test_every_module_that_a_page_names_exists(page: str) -> None:
    """A page may leave out the rooms around a module where the text names them."""
    known = [f"/{path.relative_to(ROOT)}" for path in (*SOURCE.rglob("*.py"), *ROOT.glob("tests/**/*.py"))]
    names = set(MODULE.findall((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")))
    assert [name for name in sorted(names) if not any(path.endswith(f"/{name}") for path in known)] == []
    assert len(names) > 10


def test_the_glossary_is_in_order() -> None:
    rows = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    words = [row.split("|")[1].strip() for row in rows if row.startswith("|")][2:]
    assert words == sorted(set(words))


def test_the_comparison_answers_each_row_in_few_words() -> None:
    rows = [row for row in (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8").splitlines() if row[:1] == "|"]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if not row.startswith("|---")]
    answers = {here for _, here, how in cells if how != "how, or what comes nearest"}
    assert answers <= {"yes", "no", "more", "in part", "other", "login", "by file", "by reload", "for each client"}
    assert all(how for _, _, how in cells)


def figures(text: str) -> set[str]:
    """Return the numbers with three digits or more, without the spaces in them."""
    return {number for number in re.findall(r"[\d.]+", re.sub(r"(?<=\d) (?=\d)", "", text)) if len(number) > 2}


def test_figures_of_the_tuning_page_are_measured_ones() -> None:
    text = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
    cells = [row.partition("|")[2].partition("|")[2] for row in text.splitlines() if row.startswith("|")]
    shown = {figure for cell in cells for figure in figures(cell)} - {"0.7.2"}
    sources = [ROOT / "docs" / "benchmarks.md", ROOT / "README.md"]
    assert shown - set().union(*(figures(path.read_text(encoding="utf-8")) for path in sources)) == set()
    assert len(shown) > 30


def anchors(page: Path) -> set[str]:
    """Return the anchors that links to a page may name, as GitHub derives them from the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_has_a_target(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_row_of_a_table_has_a_cell_for_each_column(page: Path) -> None:
    uneven = []
    for table in re.findall(r"^\|.*\n\|[ :|-]+\n(?:\|.*\n)*", page.read_text(encoding="utf-8"), re.MULTILINE):
        rows = table.splitlines()
        uneven += [row for row in rows if cells(row) != cells(rows[0])]
    assert uneven == []


def cells(row: str) -> int:
    """Return the number of cells; a bar after a backslash is a character of one."""
    return len(re.findall(r"(?<!\\)\|", row)) - 1
