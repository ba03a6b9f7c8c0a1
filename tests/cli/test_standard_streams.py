"""Commands whose standard input or output is closed, full, or a pipe that nothing reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.program import TOKEN

FULL = "backhaul: can't write the output: No space left on device; make room, or write it elsewhere\n"
COMMANDS = [
    "--version",
    "--help",
    "check {file}",
    "token",
    "completion bash",
    "server invite -c {file} --address tunnel.example.com",
    "doctor -c {file}",
    "convert {file}.frp --to {folder}",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "server.toml"
    file.touch(0o600)
    file.write_text(f'[server]\nbind_addr = "127.0.0.1:1"\ntransport = "tcp"\ntoken = "{TOKEN}"\nports = ["2"]\n')
    (tmp_path / "server.toml.frp").write_text('serverAddr = "192.0.2.1"\nserverPort = 1\nauth.token = "x"\n')
    return file


def call(arguments: str, redirection: str, file: Path, unbuffered: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program by a shell, with standard output and error apart."""
    words = arguments.format(file=file, folder=file.parent / "new").split()
    return subprocess.run(
        ("sh", "-c", f'exec "$0" -m backhaul "$@" {redirection}', sys.executable, *words),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_full_output_is_one_line(arguments: str, file: Path) -> None:
    ended = call(arguments, ">/dev/full", file)
    assert (ended.stderr, ended.returncode) == (FULL, 1)


@pytest.mark.parametrize("arguments", COMMANDS[2:])  # argparse ignores the error itself
def test_a_full_output_without_a_buffer_is_one_line(arguments: str, file: Path) -> None:
    ended = call(arguments, ">/dev/full", file, unbuffered="1")
    assert (ended.stderr, ended.returncode) == (FULL, 1)


def test_the_code_tells_of_a_full_output_and_error(file: Path) -> None:
    ended = call("token", ">/dev/full 2>&1", file)
    assert ended.returncode


@pytest.mark.parametrize("arguments", ["join -", "connections --watch"])
@pytest.mark.parametrize("closed", ["<&-", "<&- >&-"])
def test_closed_streams_are_empty_ones(arguments: str, closed: str, file: Path) -> None:
    ended = call(arguments, closed, file)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"backhaul {arguments.split(maxsplit=1)[0]}: ")
    assert ended.stderr.count("\n") == 1
