"""No part of a support archive holds a secret, wherever it stands: each has a text of its own, and is looked for."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import Struct
from tests.support.archive import PARTS, members, missing
from tests.support.net import HOST, free_port, until
from tests.support.program import TOKEN, Program

from backhaul.config import ClientConfig, ServerConfig
from backhaul.config.clients import ServedClient
from backhaul.config.groups import ServedGroup
from backhaul.config.keys import keys
from backhaul.config.limits import Limits

Command = Callable[..., Any]

TABLES: Final = {
    "server": ServerConfig,
    "server.clients.berlin": ServedClient,
    "server.groups.east": ServedGroup,
    "server.limits": Limits,
    "client": ClientConfig,
}
SAMPLES: Final = {
    "token": ['token = "SECRET-token-of-a-person"'],
    "tokens": ['tokens = ["SECRET-first-token", "bh1_SECRET-second-token-in-the-list-of-them"]'],
    "web_password": ['web_user = "me"\nweb_password = "SECRET-password"'],
    "proxy": [f'proxy = "{kind}://SECRET-user:SECRET%21-password@{HOST}:1"' for kind in ("http", "socks5")],
    "on_event": [
        'on_event = "/bin/true --key SECRET-argument"',
        'on_event = "https://SECRET-user:SECRET-password@hooks.example/SECRET-path?key=SECRET-key"',
    ],
}
"""Lines that set each key for secrets; a key that is missing here fails its test."""
SECRETS: Final = [
    (table, line)
    for table, schema in TABLES.items()
    for key in keys(schema)
    if key.secret
    for line in SAMPLES.get(key.name, [f"{key.name}: missing in SAMPLES"])
]
OTHERS: Final = [
    ("client", f'token = "{TOKEN}"\nservers = [{{addr = "{HOST}:1", token = "SECRET-of-another-server"}}]'),
    ("client", f'token = "{TOKEN}"\nproxy = "environment"'),
    ("client", ""),
    ("server", f'token = "{TOKEN}"\nunknown = "SECRET-of-an-unknown-key"  # SECRET-comment'),
    ("server", f'token = "{TOKEN}"\ntransport = "ws"\ndecoy = "http://SECRET-user:SECRET-password@{HOST}:1"'),
]
BASES: Final = {"server": 'bind_addr = "127.0.0.1:{}"', "client": 'remote_addr = "127.0.0.1:{}"'}
PAGE: Final = 'web_port = {}\nweb_bind = "127.0.0.1"\nlog_level = "trace"\nskip_optz = true'


def structs(of: type[Struct] = Struct) -> Iterator[type[Struct]]:
    """Return all structs of the program that are loaded."""
    for one in of.__subclasses__():
        yield one
        yield from structs(one)


def test_no_table_of_the_configuration_is_left_out() -> None:
    with_keys = {one for one in structs() if one.__module__.startswith("backhaul.config.") and keys(one)}
    assert {one for one in with_keys if not one.__subclasses__()} == set(TABLES.values())


def write(folder: Path, table: str, lines: str) -> Path:
    """Write a file with a page, in which a table has these lines."""
    side = table.partition(".")[0]
    transport = "" if "transport" in lines else 'transport = "tcp"\n'
    text = f"[{side}]\n{BASES[side].format(free_port())}\n{PAGE.format(free_port())}\n{transport}"
    text += lines if table == side else f'token = "{TOKEN}"\n[{table}]\n{lines}'
    file = folder / "end.toml"
    file.touch(0o600)
    file.write_text(f"{text}\n")
    return file


async def saved(command: Command, file: Path, path: Path) -> dict[str, str]:
    """Return the parts of an archive."""
    _, output, errors = await command("doctor", "-c", str(file), "--save", str(path))
    found = members(path)
    assert "SECRET" not in f"{output}{errors}"
    assert "report.txt" in found
    return found


def leaks(found: dict[str, str]) -> dict[str, list[str]]:
    """Return the secrets in each part that has some."""
    return {name: shown for name, text in found.items() if (shown := re.findall(r"SECRET[^\s\"]*", text))}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets in the environment."""
    monkeypatch.setenv("BACKHAUL_TOKEN", "SECRET-token-of-the-environment")
    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://SECRET-user:SECRET-password@{HOST}:1")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(("table", "line"), [*SECRETS, *OTHERS])
async def test_without_a_program(command: Command, folder: Path, table: str, line: str, tmp_path: Path) -> None:
    found = await saved(command, write(folder, table, line), tmp_path / "a.tar.gz")
    assert leaks(found) == {}
    assert "configuration.txt" in found


@pytest.mark.parametrize("line", ['token = "SECRET', 'token = ["SECRET"]', 'proxy = "http://me:SECRET@:x"', "SECRET"])
async def test_in_a_file_with_mistakes(command: Command, folder: Path, line: str, tmp_path: Path) -> None:
    found = await saved(command, write(folder, "client", line), tmp_path / "a.tar.gz")
    assert leaks(found) == {}
    assert "configuration.txt" not in found


async def test_in_a_file_of_tokens(command: Command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").touch(0o600)
    (tmp_path / "tokens").write_text("SECRET-first-token\nSECRET-second-token\n")
    found = await saved(command, write(folder, "server", f'token_file = "{tmp_path}/tokens"'), tmp_path / "a.tar.gz")
    assert leaks(found) == {}
    assert f'token_file = "{tmp_path}/tokens"' in found["configuration.txt"]


async def running(file: Path, log: Path) -> Program:
    """Start the program with its log at the end of a file."""
    program = await Program.start("-c", file, wrapper=("bash", "-c", f'exec "$@" >>{log} 2>&1', "bash"))
    await until(lambda: log.exists() and "monitoring page on" in log.read_text())
    return program


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(("table", "line"), [*SECRETS, *OTHERS])
async def test_with_a_program(command: Command, folder: Path, table: str, line: str, tmp_path: Path) -> None:
    file, log = write(folder, table, line), tmp_path / "log"
    program = await running(file, log)
    found = await saved(command, file, tmp_path / "a.tar.gz")
    await program.kill()
    assert missing(found["index.txt"]).keys() == {"unit.txt"}
    assert found.keys() == {*PARTS, "index.txt"} - {"unit.txt"}
    assert leaks(found) == {}


async def test_in_lines_of_others_in_the_log(command: Command, folder: Path, tmp_path: Path) -> None:
    file, log = write(folder, "client", 'token = "SECRET-token"'), tmp_path / "log"
    log.write_text("+ curl --header SECRET-token\n+ export TOKEN=bh1_SECRET-token-of-another-program-on-it\n")
    program = await running(file, log)
    found = await saved(command, file, tmp_path / "a.tar.gz")
    await program.kill()
    assert found["log.txt"].startswith("+ curl --header ***\n+ export TOKEN=***\n")
