"""The access log of the running program: its file, and the signal of logrotate."""

import contextlib
import json
import signal
from pathlib import Path

from tests.support.api import Way
from tests.support.net import HOST, free_port, until
from tests.support.program import Program
from tests.support.tunnel import Net

from backhaul.system.status_socket import socket_path

CONFIG = """[server]
bind_addr = "127.0.0.1:{bind}"
transport = "tcp"
token = "a token for tests only"
ports = ["127.0.0.1:{port}=80"]
offline = "wait"
skip_optz = true
access_log = "{log}"
"""


def opened(pid: int) -> set[Path]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.add(link.readlink())
    return found


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


async def left(net: Net, port: int, log: Path) -> str:
    """Return the user's address in the line of a user who has left."""
    user = await net.dial(port)
    user.reset()
    await until(lambda: lines(log))
    (entry,) = map(json.loads, lines(log))
    assert (entry["target"], entry["ending"]) == ("80", "not_carried")
    return str(entry["user"])


async def test_a_signal_reopens_the_file_even_if_the_configuration_is_broken(net: Net, tmp_path: Path) -> None:
    file, log, port = tmp_path / "server.toml", tmp_path / "access.log", free_port()
    file.touch(0o600)
    file.write_text(CONFIG.format(bind=free_port(), port=port, log=log))
    program = await Program.start("-c", file)
    try:
        await program.line("listens on")
        assert await left(net, port, log) == HOST
        log.rename(tmp_path / "old.log")
        file.write_text("nonsense")
        program.signal(signal.SIGHUP)
        await program.line("not loaded")
        assert await left(net, port, log) == HOST
    finally:
        await program.kill()


async def test_reopening_lets_the_renamed_file_go(net: Net, tmp_path: Path) -> None:
    file, log, port = tmp_path / "server.toml", tmp_path / "access.log", free_port()
    file.touch(0o600)
    file.write_text(CONFIG.format(bind=free_port(), port=port, log=log))
    program = await Program.start("-c", file)
    try:
        await program.line("listens on")
        await left(net, port, log)
        old = log.rename(tmp_path / "old.log")
        assert old in opened(program.pid)
        way = Way(str(socket_path(file)), 0, {})
        assert await way.post("/api/reopen") == {"access_log": str(log)}
        await until(lambda: old not in opened(program.pid))
        assert await left(net, port, log) == HOST
    finally:
        await program.kill()


async def test_a_reload_begins_and_ends_the_log(net: Net, tmp_path: Path) -> None:
    file, log, port = tmp_path / "server.toml", tmp_path / "access.log", free_port()
    file.touch(0o600)
    config = CONFIG.format(bind=free_port(), port=port, log=log)
    file.write_text(config.replace(f'"{log}"', '""'))
    program = await Program.start("-c", file)
    try:
        await program.line("listens on")
        file.write_text(config)
        program.signal(signal.SIGHUP)
        await program.line("configuration reloaded: keys: access_log")
        assert await left(net, port, log) == HOST
    finally:
        await program.kill()
