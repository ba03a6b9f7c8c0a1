"""Files in a directory that the user of the program may not enter."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = '[server]\nbind_addr = "127.0.0.1:3080"\ntransport = "ws"\ntoken = "x"\nports = ["8000"]\n'
# Root without capabilities has no more rights than other users.
WITHOUT_RIGHTS = () if os.geteuid() else ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")


@pytest.fixture
def forbidden(tmp_path: Path) -> Iterator[Path]:
    """A file, in a directory that nobody may enter."""
    folder = tmp_path / "forbidden"
    folder.mkdir()
    (folder / "server.toml").write_text(SERVER)
    folder.chmod(0)
    yield folder / "server.toml"
    folder.chmod(0o700)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*WITHOUT_RIGHTS, sys.executable, "-m", "backhaul", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    "command",
    [
        ("-c", "FILE"),
        ("-c", "FILE", "-c", "FILE/other"),
        ("check", "FILE"),
        ("doctor", "-c", "FILE"),
        ("status", "-c", "FILE"),
        ("reload", "-c", "FILE"),
        ("reopen", "-c", "FILE"),
        ("server", "invite", "-c", "FILE"),
        ("service", "install", "--print", "-c", "FILE"),
        ("convert", "FILE"),
        ("cert", "--out", "FILE"),
    ],
)
def test_a_command_names_the_file_that_it_can_not_reach(command: tuple[str, ...], forbidden: Path) -> None:
    done = run(*(word.replace("FILE", str(forbidden)) for word in command))
    assert done.returncode in (1, 2)
    assert str(forbidden) in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("access_log", '"FILE"'),
        ("sniffer_log", '"FILE"\nsniffer = true'),
        ("decoy", '"FILE"'),
        ("web_bind", '"unix:FILE/page"'),
        ("token_file", '"FILE"'),
        ("web_cert", '"FILE"\nweb_key = "FILE"\nweb_port = 2060'),
        ("limits.allow_file", '"FILE"'),
    ],
)
@pytest.mark.parametrize("command", ["check", "doctor"])
def test_a_key_names_the_file_that_it_can_not_reach(
    command: str, key: str, value: str, forbidden: Path, tmp_path: Path
) -> None:
    config = tmp_path / "server.toml"
    lines = SERVER.replace('token = "x"\n', "") if key == "token_file" else SERVER
    config.write_text(f"{lines}{key} = {value.replace('FILE', str(forbidden))}\n")
    done = run(command, "-c", str(config))
    assert key in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
