"""The page about installing names commands, forms and places that exist."""

import re
import shlex
from pathlib import Path

import pytest
from release.debian import entries

from backhaul.cli.arguments import parser

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "install.md").read_text()
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = [
    *re.findall(r"^backhaul ([^#>\n]+)", BLOCKS, re.MULTILINE),
    *re.findall(r"`backhaul (service [^`]+)`", TEXT),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exists(command: str) -> None:
    parser().parse_args(shlex.split(command))


def test_the_examples_are_where_the_package_puts_them(tmp_path: Path) -> None:
    library = tmp_path / "libx.so"
    library.write_bytes(b"\x7fELF GLIBC_2.34")
    places = {f"/{entry.path}" for entry in entries(tmp_path)}
    assert set(re.findall(r"/etc/backhaul/\S+\.example", TEXT)) <= places


def test_arguments_of_the_image_are_those_of_the_dockerfile() -> None:
    declared = set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    table = TEXT[TEXT.index("| argument of the build") :].split("\n\n")[0]
    assert set(re.findall(r"`([A-Z]+)`", table)) == declared
