"""The archive of ``backhaul doctor --save``: what is in it, and the file that it is."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.archive import PARTS, members, missing
from tests.support.documents import documents
from tests.support.net import HOST, free_port, until
from tests.support.program import TOKEN, Program

from backhaul.system import status_socket

Command = Callable[..., Any]

BASE = f'transport = "tcp"\ntoken = "{TOKEN}"\nskip_optz = true\n'


@pytest.fixture
def file(folder: Path) -> Path:
    """The file of a server."""
    file = folder / "end.toml"
    file.touch(0o600)
    return add(file, f'[server]\nbind_addr = "{HOST}:{free_port()}"\n{BASE}')


def add(file: Path, lines: str) -> Path:
    file.write_text(file.read_text() + lines)
    return file


async def running(file: Path, log: Path) -> Program:
    """Start the program with its log in a file."""
    program = await Program.start("-c", file, wrapper=("bash", "-c", f'exec "$@" >{log} 2>&1', "bash"))
    await until(lambda: log.exists() and "listens on" in log.read_text())
    return program


async def test_with_a_running_program(command: Command, file: Path, tmp_path: Path) -> None:
    page = f'web_port = {free_port()}\nweb_bind = "{HOST}"\n'
    program = await running(add(file, page), tmp_path / "log")
    code, output, errors = await command("doctor", "-c", str(file), "--save", str(tmp_path / "a.tar.gz"))
    found = members(tmp_path / "a.tar.gz")
    assert code == 1  # there is no client
    assert missing(found["index.txt"]).keys() == {"unit.txt"}  # nor systemd
    assert found.keys() == {*PARTS, "index.txt"} - {"unit.txt"}
    assert output == found["report.txt"]
    assert json.loads(found["report.json"])["side"] == "server"
    assert json.loads(found["status.json"])[0]["config"] == str(file)
    assert json.loads(found["history.json"])[0]["series"] == []
    assert "\n  token = ***\n" in found["configuration.txt"]
    assert "  skip_optz = true\n" in found["running.txt"]
    assert "end: server, transport tcp, NOT CONNECTED" in found["status.txt"]
    assert " info: tcp server listens on " in found["events.txt"]
    assert found["log.txt"] == (tmp_path / "log").read_text()
    assert f"process {program.pid}\n" in found["process.txt"]
    assert f"file  {file}\n" in found["index.txt"]
    assert errors.startswith(f"{tmp_path}/a.tar.gz: saved, ")
    await program.kill()


async def test_without_a_program(command: Command, file: Path, tmp_path: Path) -> None:
    code, output, errors = await command("doctor", "-c", str(file), "--save", str(tmp_path / "a.tar.gz"))
    found = members(tmp_path / "a.tar.gz")
    reasons = missing(found["index.txt"])
    present = {"report.txt", "report.json", "configuration.txt", "machine.txt"}
    assert code == 0
    assert found.keys() == {*present, "index.txt"}
    assert "no program runs this file" in output
    assert reasons.keys() == PARTS - present
    assert reasons["status.json"].startswith(f"{file}: not run by any program")
    assert reasons["process.txt"] == "no process that this user may see runs this file"
    assert f", {len(reasons)} parts missing; " in errors


async def test_with_a_program_of_another_version(command: Command, file: Path, tmp_path: Path) -> None:
    status = {"config": str(file), "connected": True, "version": "9", "events": [{"new": 1}]}
    async with status_socket.serving(status_socket.socket_path(file), documents(lambda: status)):
        await command("doctor", "-c", str(file), "--save", str(tmp_path / "a.tar.gz"))
    found = members(tmp_path / "a.tar.gz")
    reasons = missing(found["index.txt"])
    assert json.loads(found["status.json"])[0]["version"] == "9"
    assert found["status.txt"].endswith(": another version of the program; --json shows its answer\n")
    why = "another version of the program, whose answer can't be read"
    assert (reasons["running.txt"], reasons["events.txt"]) == (why, why)


async def test_the_log_of_a_program_that_writes_it_to_a_pipe(command: Command, file: Path, tmp_path: Path) -> None:
    program = await Program.start("-c", file)
    await program.line("listens on")
    await command("doctor", "-c", str(file), "--save", str(tmp_path / "a.tar.gz"))
    why = missing(members(tmp_path / "a.tar.gz")["index.txt"])["log.txt"]
    assert why.startswith(f"the log of process {program.pid} goes to a ")
    await program.kill()


async def test_the_report_as_json_stays_alone(command: Command, file: Path, tmp_path: Path) -> None:
    _, output, errors = await command("doctor", "-c", str(file), "--json", "--save", str(tmp_path / "a.tar.gz"))
    assert output == members(tmp_path / "a.tar.gz")["report.json"]
    assert json.loads(output)["config"] == str(file)
    assert errors.count("\n") == 1


async def test_a_file_with_mistakes(command: Command, file: Path, tmp_path: Path) -> None:
    """A program may run with an earlier content."""
    program = await running(file, tmp_path / "log")
    add(file, "heartbeat = -1\n")
    code, output, errors = await command("doctor", "-c", str(file), "--save", str(tmp_path / "a.tar.gz"))
    found = members(tmp_path / "a.tar.gz")
    assert (code, output) == (2, "")
    assert found["report.txt"].startswith(f"{file}: server.heartbeat: ")
    assert errors.splitlines()[1:] == found["report.txt"].splitlines()
    assert missing(found["index.txt"])["configuration.txt"] == "the file has mistakes, which report.txt lists"
    assert "  heartbeat = 40 seconds  (default)\n" in found["running.txt"]
    await program.kill()


class TestTheFile:
    async def test_only_its_owner_may_read_it(self, command: Command, file: Path, tmp_path: Path) -> None:
        before = os.umask(0)
        await command("doctor", "-c", str(file), "--save", str(tmp_path / "a.tar.gz"))
        os.umask(before)
        assert stat.S_IMODE((tmp_path / "a.tar.gz").stat().st_mode) == 0o600

    @pytest.mark.parametrize("kind", ["file", "link", "dangling link", "directory"])
    async def test_nothing_is_replaced(self, command: Command, file: Path, tmp_path: Path, kind: str) -> None:
        path, other = tmp_path / "a.tar.gz", tmp_path / "other"
        if "link" in kind:
            path.symlink_to(other)
        if kind == "directory":
            path.mkdir()
        elif kind != "dangling link":
            path.write_text("mine")
        code, output, errors = await command("doctor", "-c", str(file), "--save", str(path))
        assert (code, output) == (2, "")
        assert errors == f"{path} exists; name another file, or remove it\n"
        assert other.exists() is (kind == "link")
        assert not path.is_file() or path.read_text() == "mine"

    async def test_no_such_directory(self, command: Command, file: Path, tmp_path: Path) -> None:
        path = tmp_path / "none" / "a.tar.gz"
        line = f"cannot write {path}: no such file or directory; name a file in another directory\n"
        assert await command("doctor", "-c", str(file), "--save", str(path)) == (2, "", line)

    @pytest.mark.parametrize("name", ["", "-", "folder/"])
    async def test_no_name_of_a_file(self, command: Command, name: str) -> None:
        code, _, errors = await command("doctor", "--save", name)
        assert code == 2
        assert errors.endswith(f'argument --save: "{name}" is not the name of a file\n')

    async def test_a_configuration_that_cannot_be_read_leaves_none(self, command: Command, tmp_path: Path) -> None:
        """The next attempt, with the right name, would find it."""
        path = tmp_path / "a.tar.gz"
        code, _, errors = await command("doctor", "-c", str(tmp_path / "none.toml"), "--save", str(path))
        assert (code, errors.count("\n"), path.exists()) == (2, 1, False)

    def test_a_full_disk_leaves_none(self, file: Path, tmp_path: Path) -> None:
        """A limit of the size of files is refused by the same call. The report is printed nevertheless."""
        path = tmp_path / "a.tar.gz"
        small = ["bash", "-c", 'ulimit -f 1; trap "" XFSZ; exec "$@"', "bash"]
        words = [sys.executable, "-m", "backhaul", "doctor", "-c", str(file), "--save", str(path)]
        run = subprocess.run([*small, *words], capture_output=True, text=True, check=False)
        assert (run.returncode, path.exists()) == (2, False)
        assert "no program runs this file" in run.stdout
        assert run.stderr == f"cannot write {path}: file too large; name a file in another directory\n"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    async def test_root_gives_it_to_the_owner_of_the_directory(
        self, command: Command, file: Path, tmp_path: Path
    ) -> None:
        home = tmp_path / "home"
        home.mkdir()
        os.chown(home, 1234, 1234)
        await command("doctor", "-c", str(file), "--save", str(home / "a.tar.gz"))
        assert (home / "a.tar.gz").stat().st_uid == 1234
