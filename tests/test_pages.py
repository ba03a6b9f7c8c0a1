"""Commands, configuration and log lines in the pages are those of the program."""

import re
import shlex
from pathlib import Path

import pytest
from tests.support.pages import GENERAL, PAGES, ROOT, blocks, commands, mentions, texts

from backhaul.cli.arguments import parser
from backhaul.cli.tree import read
from backhaul.config import ConfigError
from backhaul.config.keys import keys
from backhaul.config.loader import parse
from backhaul.config.schema import SIDES

COMMANDS = {command.words for command in read(parser()).walk()}
TROUBLES = ROOT / "docs" / "troubleshooting.md"
ON_TLS = ("tls_", "decoy", "path", "edge_ip")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@every_page
def test_every_command_can_be_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = []
    for words in commands(page):
        try:
            parser().parse_args(words)
        except SystemExit as end:
            wrong += [(words, capsys.readouterr().err)] if end.code else []
    assert wrong == []


@every_page
def test_every_command_that_is_named_exists(page: Path) -> None:
    named = [() if words.startswith("-") else tuple(words.split()[:1]) for words in mentions(page)]
    known = {words[:1] for words in COMMANDS} | {("COMMAND",)}
    assert page.name in GENERAL or [words for words in named if words not in known] == []


@every_page
def test_every_configuration_is_sound(page: Path) -> None:
    wrong = {block: mistakes for block in blocks(page, "toml") if (mistakes := faults(block))}
    assert wrong == {}


def faults(block: str) -> list[str]:
    """Return what the loader says about a block, completed to a file, but not about files that are missing here."""
    text = whole(block)
    try:
        found = list(parse(text).warnings)
    except ConfigError as error:
        found = [line for line in error.problems if not re.search(r"cannot read|no such directory", line)]
    return [line for line in found if re.search(r"unknown|no effect|expected|missing;|entry", line)]


def whole(block: str) -> str:
    """Return a block with the table and the keys that a file needs."""
    side = next((side for side in SIDES if re.search(rf"^\[{side}\b", block, re.MULTILINE)), "") or side_of(block)
    head = f"[{side}]\n" if f"[{side}]" not in block else ""
    address = {"server": 'bind_addr = "0.0.0.0:3080"', "client": 'remote_addr = "example.com:3080"'}[side]
    names = re.findall(r"^(\w+) *=", block, re.MULTILINE)
    transport = "wssmux" if any(name.startswith(ON_TLS) for name in names) else "tcpmux"
    limited = re.findall(r"^\[server\.limits\.(\d+)\]", block, re.MULTILINE)
    wanted = [address, f'transport = "{transport}"'] + [f"ports = {limited}"] * bool(limited)
    missing = "\n".join(line for line in wanted if line.split(" = ")[0] not in names)
    return head + missing + "\n" + block if head else block.replace(f"[{side}]\n", f"[{side}]\n{missing}\n", 1)


def side_of(block: str) -> str:
    names = re.findall(r"^(\w+) *=", block, re.MULTILINE)
    return next(side for side, schema in SIDES.items() if set(names) <= {key.name for key in keys(schema)})


def test_a_fault_would_be_found() -> None:
    assert faults("[server]\nhartbeat = 3\n")
    assert faults('[client]\nallow_targets = ["::"]\n')
    assert faults("skip_optz = 3\n")
    assert not faults('on_event = "/bin/true"\n')


@pytest.mark.parametrize("line", re.findall(r"^\| `([^`]+)` \|", TROUBLES.read_text(encoding="utf-8"), re.MULTILINE))
def test_every_log_line_of_the_troubles_is_one_of_the_program(line: str) -> None:
    """Two are those of the kernel."""
    assert line in {"Connection refused", "timed out"} or any(line in text for text in texts(ROOT / "src"))


def test_shell_blocks_are_shell() -> None:
    for page in PAGES:
        for block in blocks(page, "sh"):
            shlex.split(block, comments=True)
