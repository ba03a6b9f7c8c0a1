"""The ends of several files in one process."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGHUP, SIGTERM

import pytest
from tests.support.clients import table
from tests.support.net import HOST, PATIENCE, echo, free_port, until
from tests.support.program import TOKEN, Program, passing
from tests.support.tunnel import Net

from backhaul.cli.main import run
from backhaul.cli.programs import is_root
from backhaul.system.programs import Document, all_programs

LINES = f'transport = "tcp"\ntoken = "{TOKEN}"\nskip_optz = true\nretry_interval = 1\n'


class Folder:
    """A directory with the files of both ends, and the program that runs them."""

    def __init__(self, path: Path, net: Net) -> None:
        self.path = path
        self.net = net
        self.bind_port = free_port()
        self.user_port = free_port()
        self.programs: list[Program] = []

    def write(self, name: str, text: str) -> Path:
        """Write a file."""
        file = self.path / f"{name}.toml"
        file.touch(0o600)
        file.write_text(text)
        return file

    async def server(self, lines: str = "") -> Path:
        """Write the file of a server with a port that leads to an echo service."""
        ports = f'ports = ["{HOST}:{self.user_port}={await self.net.echo()}"]\n'
        return self.write("public", f'[server]\nbind_addr = "{HOST}:{self.bind_port}"\n{ports}{LINES}{lines}')

    def client(self, lines: str = "") -> Path:
        """Write the file of its client."""
        return self.write("behind", f'[client]\nremote_addr = "{HOST}:{self.bind_port}"\n{LINES}{lines}')

    async def start(self, *files: Path) -> Program:
        """Run the program on files, or on the directory."""
        arguments = [argument for file in files or (self.path,) for argument in ("-c", file)]
        self.programs.append(await Program.start(*arguments))
        return self.programs[-1]


@pytest.fixture
async def ends(tmp_path: Path, folder: Path) -> AsyncIterator[Folder]:
    path = tmp_path / "ends"
    path.mkdir()
    async with Net("tcp") as net:
        ends = Folder(path, net)
        yield ends
        for program in ends.programs:
            await program.kill()


async def in_any_order(program: Program, *parts: str) -> None:
    """Wait until the log holds all parts."""
    for part in parts:
        if part not in program.text:
            await program.line(part)


async def statuses() -> dict[str, Document]:
    """Return the status of each end by its name."""
    found = await asyncio.to_thread(all_programs)
    assert not found.problems
    return {document["tunnel"]: document for document in found.documents}


async def test_both_ends_run_in_one_process_each_under_its_name(ends: Folder) -> None:
    program = await ends.start(await ends.server(), ends.client())
    await program.line("] behind: tunnel is up")
    await echo(await ends.net.dial(ends.user_port), b"hello")
    shown = await statuses()
    assert {name: document["connected"] for name, document in shown.items()} == {"behind": True, "public": True}
    told = {name: "\n".join(event["text"] for event in document["events"]) for name, document in shown.items()}
    assert "tunnel is up" in told["behind"]
    assert "server listens on" in told["public"]
    assert "server listens on" not in told["behind"]
    program.signal(SIGTERM)
    assert await program.ended() == 0
    assert all(f"] {name}: stopped" in program.text for name in ("behind", "public"))


async def test_a_broken_file_stops_only_its_own_end(ends: Folder) -> None:
    await ends.server()
    client = ends.client("dial_timeout = -1")
    program = await ends.start()
    await program.line(f"] behind: {client}: client.dial_timeout: expected")
    await program.line(f"] behind: {client}: not started until these mistakes are corrected")
    await program.line("] public: tcp server listens on")
    ends.client()
    await program.line("] behind: tunnel is up")
    assert program.text.count("dial_timeout") == 1


async def test_a_command_may_be_for_all_files_of_a_directory(ends: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    await ends.server()
    broken = ends.client("mss = 1")
    program = await ends.start()
    await program.line("] public: tcp server listens on")
    other = await Program.start("-c", ends.write("../elsewhere", f'[client]\nremote_addr = "{HOST}:1"\n{LINES}'))
    ends.programs.append(other)
    await other.line("can't connect")
    with pytest.raises(SystemExit) as end:
        await asyncio.to_thread(run, ["status", "-c", str(ends.path)])
    shown = capsys.readouterr()
    assert end.value.code == 1
    assert shown.out.startswith("public: server, ")
    assert "elsewhere" not in shown.out
    assert shown.err == f"backhaul status: {broken}: not run by any program{'' if is_root() else ' that you may ask'}\n"


async def test_an_end_whose_address_is_taken_leaves_the_others_alone(ends: Folder) -> None:
    taken = ends.net.listen()
    other = ends.write("other", f'[server]\nbind_addr = "{HOST}:{taken.port}"\n{LINES}')
    program = await ends.start(other, await ends.server(), ends.client())
    refused = f"] other: {other}: not started: can't listen on {HOST}:{taken.port}: address already in use"
    await in_any_order(program, refused, "] behind: tunnel is up")
    taken.close()
    program.signal(SIGHUP)
    await program.line("] other: tcp server listens on")


async def test_a_reload_is_for_one_file(ends: Folder) -> None:
    program = await ends.start(await ends.server(), ends.client())
    await program.line("] behind: tunnel is up")
    user = await ends.net.dial(ends.user_port)
    await echo(user, b"before")
    ends.client("connection_pool = 3")
    await program.line("] behind: configuration reloaded: keys: connection_pool")
    await echo(user, b"after")
    assert "public: configuration reloaded" not in program.text


async def test_a_directory_is_followed(ends: Folder) -> None:
    await ends.server()
    program = await ends.start()
    await program.line("] public: tcp server listens on")
    client = ends.client()
    await program.line("] behind: tunnel is up")
    client.unlink()
    await program.line("] behind: stopped")
    await until(lambda: len(list(ends.path.parent.glob("*.sock"))) == 1)
    assert (await statuses()).keys() == {"public"}
    ends.client()
    await program.line("] behind: tunnel is up")


async def test_the_service_manager_knows_one_service(
    ends: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        program = await ends.start(await ends.server(), ends.client())
        told = await said(manager, f"behind: tcp client: connected to {HOST}; public: tcp server: connected to {HOST}")
        assert [line for line in told if not line.startswith("STATUS=")] == ["READY=1"]
        program.signal(SIGTERM)
        assert "STOPPING=1" in await said(manager, "STOPPING=1")


async def test_each_end_gets_its_sockets_of_the_service_manager(ends: Folder) -> None:
    other_port = free_port()
    group = (
        table("berlin") + f'[server.groups.all]\nclients = ["berlin"]\nports = ["{HOST}:{(shared := free_port())}=1"]\n'
    )
    other = ends.write("other", f'[server]\nbind_addr = "{HOST}:{other_port}"\n{LINES}{group}')
    with contextlib.ExitStack() as sockets:
        ports = (other_port, shared, ends.bind_port, stray := free_port())
        socks = [sockets.enter_context(socket.create_server((HOST, port))) for port in ports]
        descriptors = [sock.fileno() for sock in socks]
        wrapper = passing(descriptors, ["backhaul.socket"] * len(descriptors))
        files = [argument for file in (await ends.server(), other) for argument in ("-c", file)]
        program = await Program.start(*files, wrapper=wrapper, inherit=descriptors)
        ends.programs.append(program)
        await program.line(f"] socket {stray} of the service manager: in no configuration that runs")
        assert [port["up"] for port in (await statuses())["other"]["ports"]] == [True]
        assert f"] other: tcp server listens on {HOST}:{other_port}" in program.text
        assert f"] public: tcp server listens on {HOST}:{ends.bind_port}" in program.text


async def said(manager: socket.socket, part: str) -> list[str]:
    """Return what the manager hears until a line holds ``part``."""
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while not any(part in line for line in lines):
            lines += (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode().split("\n")
    return lines


async def test_no_usable_file_is_an_error(ends: Folder) -> None:
    program = await ends.start(ends.client("mss = 1"), ends.write("other", ""))
    assert await program.ended() == 2
    assert "client.mss" in program.text
    assert "other.toml: holds neither [server] nor [client]" in program.text


class TestCheck:
    def check(self, *files: Path) -> int:
        return self.run("check", *files)

    def run(self, *words: str | Path) -> int:
        with pytest.raises(SystemExit) as end:
            run(list(map(str, words)))
        assert isinstance(end.value.code, int)
        return end.value.code

    async def test_all_files_are_shown(self, ends: Folder, capsys: pytest.CaptureFixture[str]) -> None:
        files = [ends.client(), await ends.server()]
        assert self.check(ends.path) == 0
        shown = capsys.readouterr().out
        assert all(f"{file}\n\n" in shown for file in files)

    async def test_files_may_have_an_option(self, ends: Folder, capsys: pytest.CaptureFixture[str]) -> None:
        server, client = await ends.server(), ends.client()
        for words in (
            ("check", "-c", server, "--config", client),
            ("-c", server, "-c", client, "check"),
            ("-c", server, "check", client),
        ):
            assert self.run(*words) == 0
            shown = capsys.readouterr().out
            assert all(f"{file}\n\n" in shown for file in (server, client))
        assert self.run("check", "-c", client, "--strict", server) == 2  # it has warnings
        capsys.readouterr()
        assert self.run("check", client, "--strict", server) == 2
        around = capsys.readouterr().out
        assert all(f"{file}\n\n" in around for file in (server, client))
        assert self.run("check", client, "--strct", server) == 2
        assert f"unrecognized arguments: --strct {server}; did you mean `--strict`?\n" in capsys.readouterr().err

    def test_no_file_is_a_mistake(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("check") == 2
        assert "backhaul check FILE" in capsys.readouterr().err

    async def test_one_broken_file_is_a_failure(self, ends: Folder, capsys: pytest.CaptureFixture[str]) -> None:
        broken = ends.client("mss = 1")
        assert self.check(broken, await ends.server()) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith(f"{broken}: client.mss: ")
        assert "server, transport tcp" in shown.out

    async def test_a_port_of_two_files_names_both(self, ends: Folder, capsys: pytest.CaptureFixture[str]) -> None:
        first = await ends.server(f"web_port = {(page := free_port())}\n")
        ports = f'ports = ["{ends.user_port}"]\n'
        other = ends.write("zero", f'[server]\nbind_addr = ":{page}"\n{ports}{LINES}')
        assert self.check(first, other) == 2
        assert capsys.readouterr().err.splitlines() == [
            f"{other}: server.bind_addr: port {page} is taken by web_port of {first}; change one of them",
            f"{other}: server.ports: port {ends.user_port} is taken by server.ports of {first}; change one of them",
        ]

    def test_a_directory_without_files(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.check(tmp_path) == 2
        assert capsys.readouterr().err == f"{tmp_path}: holds no file *.toml; add one, or name a file\n"
