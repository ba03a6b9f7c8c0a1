"""The files of the running program that survive its restart."""

import os
import signal
import time
from pathlib import Path

import pytest
from tests.support.net import HOST, echo, free_port, until
from tests.support.program import Program
from tests.support.tunnel import TOKEN, Net

from backhaul.monitor.history_file import HistoryFile

CONFIG = """[server]
bind_addr = "127.0.0.1:{bind}"
transport = "tcp"
token = "{token}"
ports = ["127.0.0.1:{port}={target}"]
web_bind = "127.0.0.1"
web_port = {page}
shutdown_timeout = 1
skip_optz = true
limits.bytes_per_day = 10
limits.quota_time_zone = "{zone}"
"""
HOUR = 3600  # seconds


def zone() -> str:
    """Return a time zone whose day does not end soon."""
    return "UTC" if time.time() // HOUR % 24 < 12 else "Etc/GMT+12"


def kept() -> tuple[set[str], int]:
    """Return the series of the history, and the bytes from all users."""
    (path,) = Path(os.environ["STATE_DIRECTORY"]).glob("server-*.history")
    history, now = HistoryFile(path), int(time.time() // 60)
    try:
        return set(history.names(now)), sum(sample.received for sample in history.read("", now))
    finally:
        history.close()


async def test_a_restart_forgets_neither_bytes_nor_history(net: Net, tmp_path: Path) -> None:
    file, bind, port = tmp_path / "server.toml", free_port(), free_port()
    file.touch(0o600)
    keys = {"bind": bind, "token": TOKEN, "port": port, "target": await net.echo(), "page": free_port(), "zone": zone()}
    file.write_text(CONFIG.format_map(keys))
    program = await Program.start("-c", file)
    client = await net.client(bind)
    try:
        await program.line("monitoring page on")  # from now on there is a history
        await until(lambda: client.tunnel.connected)
        user = await net.dial(port)
        await echo(user, b"bytes")
        user.close()
        program.signal(signal.SIGTERM)
        await program.line("stopped")
        program = await Program.start("-c", file)
        await program.line("limits.bytes_per_day: used up")
        await program.line("listens on")
        with pytest.raises(ConnectionResetError):
            await (await net.dial(port)).receive_some()
    finally:
        await program.kill()
    assert kept() == ({"", f"{HOST}:{port}"}, 5)
