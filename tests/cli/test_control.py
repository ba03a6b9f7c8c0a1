"""The commands that change a running program: with one that a test plays, and with real ones."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.monitor.sample import Tunnel, port
from tests.monitor.visitor import get, parse
from tests.support.api import RIGHTS, Way
from tests.support.net import HOST, free_port
from tests.support.operator import SampleOperator
from tests.support.program import Program

from backhaul.api.guards import SocketGuard
from backhaul.api.messages import Changes, Loaded
from backhaul.api.service import make_desk
from backhaul.monitor.http import HttpServer
from backhaul.monitor.status import Status
from backhaul.system.status_socket import serving, socket_path


def program(config: str, operator: SampleOperator) -> AbstractAsyncContextManager[object]:
    operator.tunnel = Tunnel(config=config)
    return serving(socket_path(config), HttpServer(make_desk(operator, SocketGuard())))


class Leaving(SampleOperator):
    """A drained program that has ``counts`` users, one count after the other, and then is no longer drained."""

    def __init__(self, *counts: int) -> None:
        super().__init__()
        self.counts = [*counts]

    async def status(self) -> Status:
        if not self.counts:
            return await super().status()
        ports = (replace(port(443), open=self.counts.pop(0)),)
        return replace(await super().status(), draining=True, ports=ports)


async def test_draining_and_its_end(command: Callable[..., Any]) -> None:
    operator = SampleOperator()
    async with program("server.toml", operator):
        assert await command("drain") == (0, "server: draining, 1 user present\n", "")
        assert await command("resume") == (0, "server: new users are admitted\n", "")
        assert (await command("drain", "berlin"))[0] == 0
        assert (await command("resume", "berlin"))[0] == 0
    assert operator.done == ["drain", "resume", "drain berlin", "resume berlin"]


@pytest.mark.parametrize("wait", [["--wait"], ["--wait", "60"]])
async def test_waiting_until_all_users_have_left(wait: list[str], command: Callable[..., Any]) -> None:
    async with program("server.toml", Leaving(9, 2, 0)):
        assert await command("drain", *wait) == (0, "server: draining, 1 user present\nall users have left\n", "")


async def test_users_who_do_not_leave_in_time(command: Callable[..., Any]) -> None:
    async with program("server.toml", Leaving(*[1] * 99)):
        assert await command("drain", "--wait", "1") == (1, "server: draining, 1 user present\n", "")


async def test_waiting_for_the_users_of_all_files_of_a_directory(command: Callable[..., Any], tmp_path: Path) -> None:
    files = [tmp_path / "ends" / name for name in ("first.toml", "second.toml")]
    files[0].parent.mkdir()
    for file in files:
        file.touch()
    async with program(str(files[0]), Leaving(*[0] * 99)), program(str(files[1]), Leaving(*[1] * 99)):
        assert (await command("drain", "-c", str(files[0].parent), "--wait", "1"))[0] == 1


async def test_waiting_ends_when_another_administrator_resumes(command: Callable[..., Any]) -> None:
    async with program("server.toml", Leaving(9, 2)):
        code, _, errors = await command("drain", "--wait")
    assert (code, "no longer drained" in errors) == (1, True)


async def test_one_program_at_a_time(command: Callable[..., Any]) -> None:
    first, second = SampleOperator(), SampleOperator()
    async with program("/a/first.toml", first), program("/a/second.toml", second):
        for name in ("drain", "resume", "reload"):
            code, output, errors = await command(name)
            assert (code, output) == (1, "")
            assert "name one with -c FILE: /a/first.toml, /a/second.toml" in errors
        assert (await command("drain", "-c", "/a/second.toml"))[0] == 0
    assert (first.done, second.done) == ([], ["drain"])


async def test_a_reload_and_its_outcome(command: Callable[..., Any]) -> None:
    operator = SampleOperator()
    async with program("server.toml", operator):
        assert await command("reload") == (0, "server: loaded, nothing has changed\n", "")
        changes = Changes(keys=("heartbeat",), restart=("token_file",), ports_added=("443", "80"))
        operator.loaded = Loaded(loaded=True, warnings=("doubtful",), changes=changes)
        _, output, _ = await command("reload")
        text = "2 ports added; keys changed: heartbeat; requires a restart: token_file"
        assert output == f"server: loaded, {text}\ndoubtful\n"
        operator.loaded = Loaded(loaded=False, problems=("server.toml: not valid\x1b",))
        assert await command("reload") == (1, "", "backhaul reload: server.toml: not valid\\x1b\n")


async def test_a_refusal_is_one_line(command: Callable[..., Any], folder: Path) -> None:
    async with program("server.toml", SampleOperator(stopping=True)):
        code, output, errors = await command("reload")
    assert (code, output) == (1, "")
    assert errors == f"backhaul reload: {socket_path('server.toml')}: the program stops\n"


async def test_the_logs_of_all_programs_are_reopened(command: Callable[..., Any]) -> None:
    server = SampleOperator(access_log="/var/log/users\x1b.log")
    async with program("/a/server.toml", server), program("/a/client.toml", SampleOperator()):
        code, output, errors = await command("reopen")
        assert (code, sorted(output.splitlines()), errors) == (
            0,
            ["client: no access log", "server: /var/log/users\\x1b.log reopened"],
            "",
        )
        assert (await command("reopen", "-c", "/a/server.toml"))[1] == "server: /var/log/users\\x1b.log reopened\n"
        server.access_log = "the journal of systemd"
        assert (await command("reopen", "-c", "/a/server.toml"))[
            1
        ] == "server: the journal of systemd needs no reopening\n"
    assert server.done == ["reopen", "reopen", "reopen"]
    assert (await command("reopen"))[0] == 1


@pytest.mark.parametrize("arguments", [["drain", "--wait", "x"], ["drain", "--wait", "-1"], ["reload", "x"]])
async def test_usage(arguments: list[str], command: Callable[..., Any]) -> None:
    assert (await command(*arguments))[0] == 2


class Server:
    """A running server with a page."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.bind, self.page, self.port = free_port(), free_port(), free_port()
        self.write("")

    def write(self, more: str) -> None:
        self.file.write_text(
            f'[server]\nbind_addr = "{HOST}:{self.bind}"\ntransport = "tcp"\ntoken = "{"t" * 40}"\nskip_optz = true\n'
            f'ports = ["{HOST}:{self.port}=1"]\nweb_bind = "{HOST}"\nweb_port = {self.page}\n'
            f'web_user = "admin"\nweb_password = "secret"\n{more}\n'
        )
        self.file.chmod(0o600)


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[Server]:
    server = Server(folder / "server.toml")
    async with running(server.file):
        yield server


@asynccontextmanager
async def running(file: Path) -> AsyncIterator[None]:
    program = await Program.start("-c", file)
    try:
        await program.line("monitoring page on")
        yield
    finally:
        await program.kill()


@pytest.mark.timeout(120)
async def test_a_real_program_is_checked_reloaded_and_drained(server: Server, command: Callable[..., Any]) -> None:
    path = socket_path(server.file)
    way = Way(str(path), 0, {})
    text = await asyncio.to_thread(server.file.read_text)
    assert await way.post("/api/check") == {"valid": True, "problems": [], "warnings": [], "changes": _none()}
    checked = await way.post("/api/check", {"text": text + "heartbeat = 7\nmark = 3\n"})
    assert (checked["valid"], checked["changes"]["keys"]) == (True, ["heartbeat"])
    assert "mark" in checked["warnings"][0]
    assert not (await way.post("/api/check", {"text": text + "heartbeat = -7"}))["valid"]

    server.write("heartbeat = 7")
    code, output, errors = await command("reload", "-c", str(server.file))
    assert (code, errors) == (0, "")
    assert "keys changed: heartbeat" in output or "nothing has changed" in output  # if the file was looked at before
    server.write("heartbeat = -7")
    code, _, errors = await command("reload", "-c", str(server.file))
    assert (code, "server.heartbeat" in errors) == (1, True)

    assert (await command("drain", "-c", str(server.file)))[0] == 0
    assert (await get(server.page, "/ready")).status == 503
    assert (await command("status"))[1].count("draining") >= 2
    assert (await command("resume", "-c", str(server.file)))[0] == 0


def _none() -> dict[str, list[str]]:
    return {name: [] for name in Changes.__struct_fields__}


@pytest.mark.timeout(120)
async def test_a_reload_through_the_page_is_answered_although_the_page_restarts(server: Server) -> None:
    way = Way("", server.page, RIGHTS)
    server.write("sniffer = false\nmetrics = []")
    document = json.loads((await way.ask("POST", "/api/reload")).body)
    assert document["loaded"]
    again = parse(await way.exchange(way.request("GET", "/api/status")))
    assert again.status == 200
