"""The command ``backhaul status``, with programs that answer and others."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.monitor.sample import Tunnel, port
from tests.support.documents import documents
from tests.support.net import HOST, free_port
from tests.support.program import Program

from backhaul.cli.programs import is_root
from backhaul.monitor.status import GroupStatus, Status
from backhaul.state import MemberPhase, MemberState
from backhaul.system import status_socket
from backhaul.system.calls import ask as real

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
def ask(command: Callable[..., Any]) -> Callable[..., Any]:
    """Run the command beside the programs of this test."""
    return partial(command, "status")


def serving(config: str, tunnel: Tunnel) -> Any:  # noqa: ANN401 - an asynchronous context
    return status_socket.serving(status_socket.socket_path(config), documents(tunnel.read))


async def test_running_programs_are_found_and_shown(folder: Path, ask: Callable[..., Any]) -> None:
    async with serving("server.toml", Tunnel(port(443))), serving("/etc/other.toml", Tunnel()):
        code, output, errors = await ask()
    assert (code, errors) == (0, "")
    assert "other: server, transport tcpmux, connected to 192.0.2.7:40112\n" in output
    assert "server: server, transport tcpmux, connected to 192.0.2.7:40112\n" in output
    assert "0.0.0.0:443  127.0.0.1:80" in output
    assert "info: client connected" in output


async def test_a_file_selects_the_program_that_runs_it(folder: Path, ask: Callable[..., Any], tmp_path: Path) -> None:
    async with serving("server.toml", Tunnel()), serving("/etc/other.toml", Tunnel()):
        code, output, _ = await ask("-c", f"{Path.cwd()}/./server.toml")
        assert code == 0
        assert output.startswith("server: ")
        assert "other" not in output
        third = tmp_path / "third.toml"
        line = "backhaul status: {}: no such file, and no program runs it\n"
        assert await ask("-c", str(third)) == (1, "", line.format(third))
        third.touch()
        line = f"backhaul status: {third}: not run by any program{'' if is_root() else ' that you may ask'}\n"
        assert await ask("-c", str(third)) == (1, "", line)


async def test_a_program_is_found_by_every_spelling_of_its_file(
    folder: Path, ask: Callable[..., Any], tmp_path: Path
) -> None:
    """A Kubernetes ConfigMap is a link to a link to a directory, which is exchanged while the program runs."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "end.toml").touch(0o600)
        (tmp_path / name / "end.toml").write_text(
            f'[client]\nremote_addr = "{HOST}:{free_port()}"\ntransport = "tcp"\nskip_optz = true\n'
        )
    data, file = tmp_path / "..data", tmp_path / "config.toml"
    data.symlink_to("old")
    file.symlink_to("..data/end.toml")
    program = await Program.start("-c", file)
    try:
        await program.line("can't connect")
        assert await knows(ask, file, "old/end.toml", "..data/end.toml") == [True, True, True]
        data.unlink()
        data.symlink_to("new")
        assert await knows(ask, file, "new/end.toml", "old/end.toml") == [True, True, False]
    finally:
        await program.kill()


async def knows(ask: Callable[..., Any], file: Path, *others: str) -> list[bool]:
    return ["config: client" in (await ask("-c", str(file.parent / name)))[1] for name in (file.name, *others)]


async def test_only_old_dead_sockets_are_removed(folder: Path, ask: Callable[..., Any]) -> None:
    old, young = folder / "old-01234567.sock", folder / "young-01234567.sock"
    for path in (old, young):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    os.utime(old, (0, 0))
    async with serving("server.toml", Tunnel()):
        os.utime(folder / status_socket.socket_name("server.toml"), (0, 0))
        assert (await ask())[0] == 0
        assert status_socket.sockets() == [folder / status_socket.socket_name("server.toml"), young]


async def test_json_holds_every_field(folder: Path, ask: Callable[..., Any]) -> None:
    tunnel = Tunnel(port(443, received=7))
    async with serving("server.toml", tunnel):
        code, output, errors = await ask("--json")
    assert (code, errors) == (0, "")
    (document,) = json.loads(output)
    assert document.pop("socket") == str(folder / status_socket.socket_name("server.toml"))
    assert document["ports"][0]["received"] == 7
    assert set(document) == set(Status.__struct_fields__)


async def test_a_tunnel_that_is_down_is_a_failure(folder: Path, ask: Callable[..., Any]) -> None:
    tunnel = Tunnel()
    tunnel.say(connected=False, peer="")
    async with serving("server.toml", Tunnel()), serving("down.toml", tunnel):
        code, output, errors = await ask()
        assert (code, errors) == (1, "")
        assert "down: server, transport tcpmux, NOT CONNECTED\n" in output
        assert (await ask("--json"))[0] == 1


@pytest.mark.parametrize(("arguments", "output"), [([], ""), (["--json"], "[]\n")])
async def test_nothing_runs(arguments: list[str], output: str, folder: Path, ask: Callable[..., Any]) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "dead-01234567.sock"))
    code, shown, line = await ask(*arguments)
    assert (code, shown) == (1, output)
    assert line.startswith("backhaul status: no program ")


@pytest.mark.parametrize(
    ("user", "line"),
    [
        (
            0,
            "backhaul status: no program runs on this machine; for one in a container, run the command there\n",
        ),
        (1000, "backhaul status: no program that you may ask runs on this machine; root may ask all\n"),
    ],
)
async def test_root_is_not_told_that_root_may_ask(
    user: int, line: str, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert await ask() == (1, "", line)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "cut off"),
        (b"{]", "not valid HTTP"),
        (GOOD % 9 + b'{"a": 1', "cut off"),
        (GOOD % 7 + b'{"a": 1', "truncated"),
        (GOOD % 2 + b"{]", "malformed"),
        (GOOD % 2 + b"[]", "Expected `object`"),
        (GOOD % 10 + b'{"a": "\xff"}', "utf-8"),
    ],
)
async def test_a_broken_answer_is_one_line(answer: bytes, problem: str, folder: Path, ask: Callable[..., Any]) -> None:
    path = folder / "odd-01234567.sock"
    async with other_program(path, answer):
        code, output, errors = await ask()
    assert (code, output) == (1, "")
    assert errors.startswith(f"backhaul status: {path}: broken answer: ")
    assert problem in errors
    assert errors.count("\n") == 1


async def test_another_version_is_still_shown_as_json(folder: Path, ask: Callable[..., Any]) -> None:
    path = folder / "old-01234567.sock"
    async with other_program(path, GOOD % 31 + b'{"connected": true, "ports": 3}'):
        assert await ask() == (0, f"{path}: another version of the program; --json shows its answer\n", "")
        code, output, _ = await ask("--json")
    assert code == 0
    assert json.loads(output) == [{"socket": str(path), "connected": True, "ports": 3}]


async def test_names_of_other_programs_are_escaped(folder: Path, ask: Callable[..., Any]) -> None:
    path = folder / "\x1b[2J-01234567.sock"
    async with other_program(path, b"{]"):
        _, _, errors = await ask()
    async with other_program(path, GOOD % 43 + b'{"connected": true, "socket": "/elsewhere"}'):
        _, output, _ = await ask()
        _, document, _ = await ask("--json")
    assert "\x1b" not in errors + output
    assert json.loads(document)[0]["socket"] == str(path)


async def test_a_program_that_hangs_is_reported(
    folder: Path, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backhaul.system.programs.ask", partial(real, patience=0.05))
    path = folder / "hung-01234567.sock"
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(path))
        hanging.listen()
        assert await ask() == (1, "", f"backhaul status: {path}: the program runs, but does not answer\n")


async def test_a_program_of_another_user_is_named(
    folder: Path, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "x-01234567.sock"
    path.touch()
    monkeypatch.setattr("backhaul.system.programs.ask", refuse)
    assert await ask() == (1, "", f"backhaul status: {path}: owned by another user; ask as that user or as root\n")
    for number in range(3):
        (folder / f"y-{number}.sock").touch()
    code, _, errors = await ask()
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"backhaul status: {path} and 3 more: ")


async def test_a_program_of_another_user_does_not_change_the_exit_code(
    folder: Path, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = folder / "x-01234567.sock"
    foreign.touch()
    monkeypatch.setattr(
        "backhaul.system.programs.ask", lambda path, request: refuse(path) if path == foreign else real(path, request)
    )
    async with serving("server.toml", Tunnel(port(443))):
        code, _, errors = await ask()
    assert (code, errors) == (0, "")


def refuse(_: Path, __: str = "") -> bytes:
    raise PermissionError


@asynccontextmanager
async def other_program(path: Path, answer: bytes) -> AsyncIterator[None]:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(reply, path)
    yield
    server.close()
    await server.wait_closed()


async def test_a_port_that_is_down_is_shown_and_is_a_failure(folder: Path, ask: Callable[..., Any]) -> None:
    async with serving("server.toml", Tunnel(port(80), replace(port(443), up=False, problem="address already in use"))):
        code, output, errors = await ask()
    assert (code, errors) == (1, "")
    assert "  0.0.0.0:443: port down: address already in use\n" in output
    assert output.count("port down") == 1


@pytest.mark.parametrize(("state", "problem", "code"), [("draining", "", 0), ("unhealthy", "timed out", 1)])
async def test_an_unhealthy_member_is_a_failure(
    state: MemberPhase, problem: str, code: int, folder: Path, ask: Callable[..., Any]
) -> None:
    tunnel = Tunnel(port(80))
    tunnel.say(groups=(GroupStatus("web", "least", (MemberState("berlin", 0, state, problem),)),))
    async with serving("server.toml", tunnel):
        assert (await ask())[0] == code
