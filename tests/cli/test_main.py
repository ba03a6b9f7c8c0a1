"""The program as a process: its output, its end and its exit code."""

import asyncio
import contextlib
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, Signals

import psutil
import pytest
from tests.support.net import HOST, PATIENCE, Peer, free_port, until
from tests.support.program import TOKEN, Program
from tests.support.tunnel import Net

from backhaul import __version__
from backhaul.cli.main import run


class Ground:
    """Writes configuration files, runs programs on them, and ends the remaining ones."""

    def __init__(self, folder: Path, net: Net) -> None:
        self.folder = folder
        self.net = net
        self.bind_port = free_port()
        self.user_port = free_port()
        self._programs = contextlib.AsyncExitStack()

    async def server(self, lines: str = "", ports: str | None = None) -> Program:
        """Run a server with a port that leads to an echo service."""
        target = await self.net.echo()
        ports = f'ports = ["{HOST}:{self.user_port}={target}"]' if ports is None else ports
        return await self.run(f'[server]\nbind_addr = "{HOST}:{self.bind_port}"\n{ports}\n', lines)

    async def client(self, lines: str = "") -> Program:
        """Run a client."""
        return await self.run(f'[client]\nremote_addr = "{HOST}:{self.bind_port}"\n', lines)

    async def tunnel(self, lines: str = "") -> tuple[Program, Program]:
        """Run both ends, and wait until they are connected."""
        server = await self.server(lines)
        await server.line("server listens on")
        client = await self.client(lines)
        await client.line("tunnel is up")
        await server.line("tunnel is up")  # a server that waits for long refuses users
        return server, client

    async def run(self, head: str, lines: str = "") -> Program:
        """Run the end that a configuration describes."""
        return await self.start("-c", self.write(head, lines))

    def write(self, head: str, lines: str = "") -> Path:
        """Write a configuration; return its file."""
        file = self.folder / f"{head[1:7]}.toml"
        file.touch(0o600)
        file.write_text(f'{head}transport = "tcp"\ntoken = "{TOKEN}"\nskip_optz = true\n{lines}\n')
        return file

    async def start(self, *arguments: str | Path, wrapper: Sequence[str] = ()) -> Program:
        """Run the program with any arguments."""
        program = await Program.start(*arguments, wrapper=wrapper)
        self._programs.push_async_callback(program.kill)
        return program

    async def user(self) -> Peer:
        """Return a user who has received an answer."""
        user = await self.net.dial(self.user_port)
        await user.send(b"hello")
        assert await user.receive(5) == b"hello"
        return user

    async def end(self) -> None:
        """End the programs that still run."""
        await self._programs.aclose()


@pytest.fixture(autouse=True)
def _same_signals() -> Iterator[None]:
    """Restore signals that a run inside this process has ignored."""
    before = {number: signal.getsignal(number) for number in (SIGHUP, SIGUSR1, SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def listening_ports(pid: int) -> set[int]:
    """Return the ports on which this process listens, which some other one might do as well."""
    return {one.laddr.port for one in psutil.Process(pid).net_connections() if one.status == psutil.CONN_LISTEN}


def open_sockets(pid: int) -> set[int]:
    files = Path(f"/proc/{pid}/fd").iterdir()
    return {int(file.name) for file in files if str(file.readlink()).startswith(("socket:", "anon_inode:"))}


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    async with Net("tcp") as net:
        ground = Ground(tmp_path, net)
        yield ground
        await ground.end()


class TestUsage:
    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as end:
            run(["--version"])
        assert end.value.code == 0
        assert capsys.readouterr().out == f"backhaul v{__version__}\n"

    def test_a_token(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as end:
            run(["token"])
        assert end.value.code == 0
        assert re.fullmatch(r"bh1_[\w-]{43}\n", capsys.readouterr().out)

    @pytest.mark.parametrize("arguments", [[], ["--nonsense"], ["nonsense"], ["-c"]])
    def test_mistakes(self, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
        with pytest.raises(SystemExit) as end:
            run(arguments)
        assert end.value.code == 2
        assert "usage: backhaul" in capsys.readouterr().err

    def test_a_missing_file(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        with pytest.raises(SystemExit) as end:
            run(["-c", str(tmp_path / "nowhere.toml")])
        assert end.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1

    async def test_unusable_tls_files(self, ground: Ground) -> None:
        """``check`` names them, and the exit code keeps the service manager from restarting."""
        for name in ("server.crt", "server.key"):
            (ground.folder / name).write_text("nonsense")
        lines = f'transport = "wss"\ntls_cert = "{ground.folder}/server.crt"\ntls_key = "{ground.folder}/server.key"'
        file = ground.folder / "wss.toml"
        file.write_text(f'[server]\nbind_addr = ":1"\ntoken = "{TOKEN}"\nskip_optz = true\n{lines}\n')
        program = await ground.start("-c", file)
        assert await program.ended() == 2
        (line,) = program.lines
        assert "server.tls_cert: unusable with tls_key" in line

    async def test_a_mistake_in_the_file(self, ground: Ground) -> None:
        program = await ground.run('[server]\nbind_addr = "nonsense"\n')
        assert await program.ended() == 2
        (line,) = program.lines
        assert f"{ground.folder}/server.toml: server.bind_addr" in line


class TestPorts:
    async def test_the_tunnels_own_port_is_taken(self, ground: Ground) -> None:
        ground.net.listen(ground.bind_port)
        server = await ground.server()
        assert await server.ended() == 1
        line = f"can't listen on {HOST}:{ground.bind_port}: address already in use; "
        assert server.lines[-1].endswith(f"{line}`ss -ltnp` shows the program that uses it\n")

    async def test_the_reason_for_the_end_is_logged_at_level_fatal(self, ground: Ground) -> None:
        ground.net.listen(ground.bind_port)
        server = await ground.server(ports='log_level = "fatal"')
        assert await server.ended() == 1
        assert "address already in use" in server.lines[-1]

    async def test_all_ports_are_taken(self, ground: Ground) -> None:
        taken = ground.net.listen()
        server = await ground.server(ports=f'ports = ["{HOST}:{taken.port}=1"]')
        line = await server.line(f"port {HOST}:{taken.port}")
        assert "address already in use" in line
        await server.line("0 ports")
        taken.close()
        await server.line("now open")
        await ground.net.dial(taken.port)

    @pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root may have a network alone")
    async def test_an_address_that_the_machine_lacks_at_the_start(self, ground: Ground) -> None:
        address, alone = "192.0.2.1", ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
        file = ground.folder / "early.toml"
        lines = f'transport = "tcp"\ntoken = "{TOKEN}"\nskip_optz = true\nports = ["{address}:443=1"]\n'
        file.write_text(f'[server]\nbind_addr = "{address}:3080"\n{lines}')
        server = await ground.start("-c", file, wrapper=alone)
        await server.line(f"can't listen on {address}:3080: cannot assign requested address")
        await server.line(f"port {address}:443: cannot assign requested address")
        inside = ["nsenter", f"--net=/proc/{server.pid}/ns/net", "ip", "address", "add", f"{address}/32", "dev", "lo"]
        await asyncio.to_thread(subprocess.run, inside, check=True)
        await server.line(f"server now listens on {address}:3080")
        if "443: open" not in server.text:
            await server.line(f"port {address}:443: now open")

    @pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may give up a capability")
    async def test_a_low_port_names_the_remedy(self, ground: Ground) -> None:
        alone = ("unshare", "--net", "setpriv", "--bounding-set=-net_bind_service")
        server = await ground.start("-c", ground.write('[server]\nbind_addr = ":443"\n'), wrapper=alone)
        assert "can't listen on :443: permission denied, ports below 1024" in await server.line("CAP_NET_BIND_SERVICE")
        assert await server.ended() == 1

    async def test_one_port_is_taken(self, ground: Ground) -> None:
        taken = ground.net.listen().port
        server = await ground.server(ports=f'ports = ["{HOST}:{taken}=1", "{HOST}:{ground.user_port}=1"]')
        await server.line(f"port {HOST}:{taken}: address already in use; retried")
        await server.line(", 1 port\n")
        await ground.net.dial(ground.user_port)


async def test_the_status_of_the_service_follows_the_tunnel(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        await ground.server()
        await told(manager, f"STATUS=tcp server: waiting for the client on {HOST}:{ground.bind_port}")
        monkeypatch.delenv("NOTIFY_SOCKET")
        client = await ground.client()
        await told(manager, f"STATUS=tcp server: connected to {HOST}")
        client.signal(SIGTERM)
        await told(manager, "STATUS=tcp server: waiting")


async def told(manager: socket.socket, text: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode().startswith(text):
            pass


async def test_the_first_line_names_version_python_file_and_process(ground: Ground) -> None:
    client = await ground.client()
    line = await client.line("starts")
    version = f"backhaul v{__version__} on Python {platform.python_version()}"
    assert line.endswith(f"[INFO] {version} starts: configuration {ground.folder}/client.toml, pid {client.pid}\n")


class TestEnd:
    @pytest.mark.parametrize("number", [SIGTERM, SIGINT])
    async def test_both_ends_end_in_order(self, ground: Ground, number: Signals) -> None:
        server, client = await ground.tunnel('log_level = "trace"')
        (await ground.user()).close()
        for program in (server, client):
            program.signal(number)
            assert await program.ended() == 0
            assert "stopping" in program.text
            assert "stopped" in program.lines[-1]
            assert TOKEN not in program.text
            assert "Traceback" not in program.text
        assert "the server closed it to stop or to reload" in client.text

    async def test_users_in_flight_may_finish(self, ground: Ground) -> None:
        server, _ = await ground.tunnel("shutdown_timeout = 600")
        user = await ground.user()
        server.signal(SIGTERM)
        await server.line("stopping")
        await user.send(b"the end")
        user.shut_write()
        assert await user.receive_all() == b"the end"
        assert await server.ended() == 0

    async def test_users_in_flight_are_closed_after_shutdown_timeout(self, ground: Ground) -> None:
        server, _ = await ground.tunnel("shutdown_timeout = 0")
        user = await ground.user()
        server.signal(SIGTERM)
        assert await server.ended() == 0
        assert not await user.closed()

    @pytest.mark.parametrize("end", [0, 1], ids=["server", "client"])
    async def test_a_second_signal_ends_at_once_with_resets(self, ground: Ground, end: int) -> None:
        program = (await ground.tunnel("shutdown_timeout = 600"))[end]
        user = await ground.user()
        program.signal(SIGTERM)
        await program.line("stopping")
        program.signal(SIGTERM)
        assert await program.ended() == 0
        assert "Traceback" not in program.text
        assert not await user.closed()

    async def test_new_users_are_served_during_a_shutdown(self, ground: Ground) -> None:
        server, _ = await ground.tunnel("shutdown_timeout = 600")
        first = await ground.user()
        server.signal(SIGTERM)
        await server.line("stopping")
        second = await ground.user()
        first.close()
        third = await ground.user()
        second.close()
        third.close()
        assert await server.ended() == 0
        with pytest.raises(ConnectionRefusedError):
            await ground.user()

    async def test_signals_without_a_meaning_are_ignored(self, ground: Ground) -> None:
        server, _ = await ground.tunnel()
        for number in (SIGUSR1, SIGUSR2):
            server.signal(number)
        (await ground.user()).close()
        server.signal(SIGTERM)
        assert await server.ended() == 0

    @pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "<&-", ">&-", "2>&-"])
    async def test_closed_standard_descriptors(self, ground: Ground, closed: str) -> None:
        """No socket gets their numbers, on which libuv would abort at the end."""
        file = ground.write(f'[server]\nbind_addr = "{HOST}:{ground.bind_port}"\n')
        command = f'exec "$0" -m backhaul -c "$1" {closed}'
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", command, sys.executable, file),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until(lambda: ground.bind_port in listening_ports(process.pid))
            assert not open_sockets(process.pid) & {0, 1, 2}
        finally:
            process.terminate()
        assert await process.wait() == 0

    async def test_a_client_that_never_found_its_server(self, ground: Ground) -> None:
        client = await ground.client()
        await client.line(f"can't connect to {HOST}:{ground.bind_port}: connection refused")
        client.signal(SIGTERM)
        assert await client.ended() == 0


@pytest.mark.parametrize(("strict", "code"), [([], 0), (["--strict"], 2)])
@pytest.mark.parametrize(("line", "warned"), [("", False), ("hartbeat = 3", True)])
def test_check_fails_on_warnings_if_strict(
    strict: list[str], code: int, line: str, *, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "server.toml"
    file.touch(0o600)
    file.write_text(f'[server]\nbind_addr = ":1"\ntransport = "tcp"\ntoken = "{TOKEN}"\nports = ["2"]\n{line}\n')
    with pytest.raises(SystemExit) as end:
        run(["check", *strict, str(file)])
    assert end.value.code == code * warned
    assert ("hartbeat: unknown key" in capsys.readouterr().out) == warned


async def test_without_a_token_the_log_warns(ground: Ground) -> None:
    file = ground.folder / "public.toml"
    file.write_text(f'[server]\nbind_addr = "{HOST}:{ground.bind_port}"\ntransport = "tcp"\nskip_optz = true\n')
    server = await ground.start("-c", file)
    assert "ANYONE CAN TAKE OVER THIS TUNNEL" in await server.line("] token:")
    await server.line("server listens on")
