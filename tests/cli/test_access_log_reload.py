"""The access log of the running program: its file, and the signal of logrotate."""

import json
import signal
from pathlib import Path

from tests.support.net import HOST, free_port, until
from tests.support.program import Program
from tests.support.tunnel import Net

CONFIG = """[server]
bind_addr = "127.0.0.1:{bind}"
transport = "tcp"
token = "a token for tests only"
ports = ["127.0.0.1:{port}=80"]
offline = "wait"
skip_optz = true
access_log = "{log}"
"""


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
