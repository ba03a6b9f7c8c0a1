"""Checks of the Dockerfile that need no Docker."""

import json
import re
import shlex
import tomllib
from pathlib import Path, PurePosixPath

import pytest

from backhaul import __version__
from backhaul.cli.arguments import parser

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()

LICENSE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]

Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """Return name and arguments of each instruction, with continued lines joined."""
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for line in joined.splitlines() if line for name, _, rest in [line.partition(" ")]]


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage; those before the first choose the image."""
    found: list[list[Instruction]] = []
    everything = instructions()
    first = [name for name, _ in everything].index("FROM")
    for instruction in everything[first:]:
        if instruction[0] == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


def arguments(stage: list[Instruction], name: str) -> list[str]:
    return [rest for found, rest in stage if found == name]


def form(name: str) -> list[str]:
    """Return the words of the last stage's ENTRYPOINT, CMD or HEALTHCHECK in its exec form, which needs no shell."""
    (text,) = arguments(stages()[-1], name)
    words = json.loads(text[text.index("[") :])
    assert all(isinstance(word, str) for word in words)
    return list(words)


def test_it_is_made_of_known_instructions() -> None:
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    known |= {"ARG", "LABEL"}
    assert {name for name, _ in instructions()} <= known


def test_the_image_is_named_with_its_version_and_may_be_pinned() -> None:
    defaults = dict(rest.split("=", 1) for name, rest in instructions() if name == "ARG" and "=" in rest)
    assert re.fullmatch(r"python:3\.\d+-slim", defaults["IMAGE"])  # no host
    assert defaults["DIGEST"] == ""
    for stage in stages():
        assert re.fullmatch(r"\$\{IMAGE\}\$\{DIGEST\}( AS \w+)?", arguments(stage, "FROM")[0])


def test_its_labels_say_what_it_is() -> None:
    (rest,) = arguments(stages()[-1], "LABEL")
    labels = dict(word.split("=", 1) for word in shlex.split(rest))
    prefix = "org.opencontainers.image."
    assert {name.removeprefix(prefix) for name in labels} == {
        *("title", "description", "licenses", "version", "revision", "created", "source"),
        "base.name",
    }
    assert labels[f"{prefix}licenses"] == LICENSE
    declared = {rest.partition("=")[0] for rest in arguments(stages()[-1], "ARG")}
    assert set(re.findall(r"\$\{(\w+)", rest)) <= declared


def test_the_default_of_its_version_is_current() -> None:
    assert f"VERSION={__version__}" in arguments(stages()[-1], "ARG")


def test_it_installs_the_versions_that_were_tested() -> None:
    assert "--constraint constraints.txt" in arguments(stages()[0], "RUN")[0]


def test_copied_files_exist_and_are_not_ignored() -> None:
    assert IGNORED[1] == "*"
    allowed = {line[1:] for line in IGNORED if line.startswith("!")}
    copied: set[str] = set()
    for copy in arguments(stages()[0], "COPY"):
        *sources, _ = shlex.split(copy)
        copied.update(sources)
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_sources_of_the_package_are_copied() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'^(?:license-files|packages|path) = \[?"([^"]+)"', project, re.MULTILINE)
    named += re.findall(r'^"(.+)" = "share/', project, re.MULTILINE)
    for name in (*named, "README.md"):
        assert PurePosixPath(name).parts[0] in TEXT


def test_only_the_virtual_environment_is_copied_from_the_first_stage() -> None:
    (copy,) = arguments(stages()[1], "COPY")
    assert copy == "--from=build /opt/backhaul /opt/backhaul"  # a venv holds its own path
    assert "python -m venv --without-pip /opt/backhaul " in arguments(stages()[0], "RUN")[0]


def test_it_does_not_run_as_root() -> None:
    (user,) = arguments(stages()[-1], "USER")
    assert re.fullmatch(r"(?!0)\d+:(?!0)\d+", user)
    names = [name for name, _ in stages()[-1]]
    assert names.index("USER") > max(index for index, name in enumerate(names) if name == "RUN")
    number = user.partition(":")[0]
    assert f"useradd --uid {number} " in "".join(arguments(stages()[-1], "RUN"))


@pytest.mark.parametrize("name", ["CMD", "HEALTHCHECK"])
def test_its_commands_exist_in_the_program(name: str) -> None:
    words = form(name)
    if name == "CMD":
        words = form("ENTRYPOINT") + words
    assert words[0] == "backhaul"
    parser().parse_args(words[1:])


def test_files_that_must_survive_a_restart_are_in_the_volume() -> None:
    assert re.findall(r"STATE_DIRECTORY=(\S+)", TEXT) == arguments(stages()[-1], "VOLUME")


def test_the_program_and_its_healthcheck_use_the_same_socket() -> None:
    (folder,) = re.findall(r"RUNTIME_DIRECTORY=(\S+)", TEXT)
    made = shlex.split(arguments(stages()[-1], "RUN")[0])
    assert folder in made
