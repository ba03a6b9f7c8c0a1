"""constraints.txt fits pyproject.toml, and names no host."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINS = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LINES)}


def requirements() -> list[Requirement]:
    """Return the requirements of the program, its extras, its tests and `make dist`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [settings["build-system"]["requires"], settings["project"]["dependencies"]]
    lists += settings["project"]["optional-dependencies"].values()
    lists += settings["dependency-groups"].values()
    return [Requirement(text) for texts in lists for text in texts]


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_one_version_of_one_package(line: str) -> None:
    assert re.fullmatch(r"[\w.-]+==[\w.]+", line)


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_a_version_is_within_the_bounds(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    assert name in PINS, "run: make constraints"
    assert requirement.specifier.contains(PINS[name], prereleases=True)
