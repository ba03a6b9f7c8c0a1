"""The sources of a support archive's parts: the log, the journal, systemd, the kernel, and this machine."""

import os
import re
import socket
import sys
import tomllib
from pathlib import Path

import pytest

from backhaul import __version__
from backhaul.errors import BackhaulError
from backhaul.support import commands, log, machine, process, units
from backhaul.support.part import MOST
from backhaul.support.units import Unit

ROOT = Path(__file__).parents[2]
ANY = Unit("backhaul*")
NONE = "/nowhere/journalctl"


def proc(folder: Path, output: Path | str, group: str = "0::/") -> Path:
    """Return a ``/proc`` with process 10, whose standard output leads to a file."""
    found = folder / "proc" / "10"
    (found / "fd").mkdir(parents=True)
    (found / "fd/1").symlink_to(output)
    (found / "cgroup").write_text(f"{group}\n")
    return folder / "proc"


def command(folder: Path, script: str) -> str:
    """Return a command that this script is."""
    path = folder / "command"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


class TestLog:
    def test_the_file_is_read_even_if_it_was_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with path.open("w+") as file:
            file.write("one\ntwo\n")
            file.flush()
            path.unlink()
            found = proc(tmp_path, f"/proc/self/fd/{file.fileno()}")
            assert log.last_lines([10], ANY, found, NONE) == "one\ntwo\n"

    def test_whole_lines_at_the_end_of_a_long_one(self, tmp_path: Path) -> None:
        lines = [f"line {number}\n" for number in range(200_000)]
        (tmp_path / "log").write_text("".join(lines))
        found = log.last_lines([10], ANY, proc(tmp_path, tmp_path / "log"), NONE)
        assert found.splitlines(keepends=True) == lines[-found.count("\n") :]
        assert 1 << 19 < len(found) <= 1 << 20

    @pytest.mark.parametrize(
        ("group", "choice"),
        [
            ("0::/system.slice/backhaul.service", "--unit backhaul.service"),
            ("1:name=systemd:/system.slice/system-backhaul.slice/backhaul@a.service", "--unit backhaul@a.service"),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/tunnel.service",
                "--user-unit tunnel.service",
            ),
        ],
    )
    def test_the_journal_of_the_unit(self, tmp_path: Path, group: str, choice: str) -> None:
        """It is asked for the newest lines first, so that a bound leaves out the oldest."""
        journalctl = command(tmp_path, 'echo "$@"; echo 2 backhaul-access[7]: user; echo 1 backhaul[7]: line')
        with socket.socket(socket.AF_UNIX) as output:
            found = proc(tmp_path, f"/proc/self/fd/{output.fileno()}", group)
            line, words = log.last_lines([10], ANY, found, journalctl).splitlines()
        assert line == "1 backhaul[7]: line"
        assert words == f"--quiet --no-pager --reverse --lines=2000 --output=short-iso {choice}"

    def test_the_journal_of_the_likely_unit_without_a_process(self, tmp_path: Path) -> None:
        assert log.last_lines([], ANY, tmp_path, command(tmp_path, 'echo "$@"')).endswith(" --unit backhaul*\n")

    def test_an_empty_journal(self, tmp_path: Path) -> None:
        with pytest.raises(BackhaulError, match=r"no line of backhaul\* that this user may read; root may read all"):
            log.journal(ANY, command(tmp_path, ":"))

    @pytest.mark.parametrize(
        ("output", "place"),
        [
            ("/dev/null", "/dev/null"),
            ("pipe:[7]", "a pipe; look where the program was started, with `docker logs` for instance"),
            (None, "a place that this user may not see; root may see it"),
        ],
    )
    def test_another_place(self, tmp_path: Path, output: str | None, place: str) -> None:
        found = proc(tmp_path, output or "nothing", "0::/user.slice/session-3.scope")
        if output is None:
            (found / "10/fd/1").unlink()
        with pytest.raises(BackhaulError) as caught:
            log.last_lines([10], ANY, found, NONE)
        assert str(caught.value) == f"the log of process 10 goes to {place}"


class TestCommands:
    def test_no_variable_reaches_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BACKHAUL_TOKEN", "s3cret")
        assert "BACKHAUL" not in commands.output_of(["env"])

    @pytest.mark.parametrize(
        ("script", "text"),
        [("echo no bus >&2; echo more; exit 3", "status 3; no bus"), ("exit 4", "status 4")],
    )
    def test_one_that_fails(self, tmp_path: Path, script: str, text: str) -> None:
        path = command(tmp_path, script)
        with pytest.raises(BackhaulError) as caught:
            commands.output_of([path])
        assert str(caught.value) == f"{path} ended with {text}"

    @pytest.mark.parametrize("script", ["exec sleep 60", "while echo line; do sleep 0.01; done"])
    def test_one_that_does_not_end(self, tmp_path: Path, script: str) -> None:
        path = command(tmp_path, script)
        with pytest.raises(BackhaulError) as caught:
            commands.output_of([path], patience=0.2)
        assert str(caught.value) == f"{path} gave no answer within 0.2 s"

    def test_one_that_is_not_there(self) -> None:
        with pytest.raises(BackhaulError, match=r"^cannot run /nowhere/journalctl: no such file or directory$"):
            commands.output_of([NONE])

    def test_an_endless_output_is_cut(self) -> None:
        assert len(commands.output_of(["yes"])) == MOST + 1


def test_systemd_is_asked_for_properties_that_hold_no_secret(tmp_path: Path) -> None:
    words = units.properties(Unit("a.service", of_user=True), command(tmp_path, 'echo "$@"')).split()
    assert (words[:2], words[-1]) == (["--user", "show"], "a.service")
    names = set(words[2].removeprefix("--property=").split(","))
    assert {"Result", "NRestarts", "LimitNOFILE", "MemoryMax"} <= names
    assert not names & {"Environment", "ExecStart", "ExecStartEx", "EnvironmentFiles", "SetCredential"}


class TestProcess:
    def test_this_one(self) -> None:
        text = process.describe([os.getpid()], Path("/proc"))
        assert text.startswith(f"process {os.getpid()}\nName: ")
        assert re.search(r"^VmRSS: \d+ kB$", text, re.MULTILINE)
        assert re.search(r"^Max open files +\d", text, re.MULTILINE)
        assert re.search(r"^descriptors: \d+$", text, re.MULTILINE)
        assert "cmdline" not in text

    def test_the_figures_of_its_control_group(self, tmp_path: Path) -> None:
        found = proc(tmp_path, "/dev/null", "0::/system.slice/backhaul.service")
        group = tmp_path / "cgroup/system.slice/backhaul.service"
        group.mkdir(parents=True)
        (group / "memory.max").write_text("100000\n")
        (group / "memory.events").write_text("oom 3\noom_kill 1\n")
        lines = process.describe([10], found, tmp_path / "cgroup").splitlines()
        assert lines[-2:] == ["memory.max: 100000", "memory.events: oom 3 oom_kill 1"]

    def test_one_that_has_ended(self, tmp_path: Path) -> None:
        assert process.describe([10], tmp_path) == "process 10\ndescriptors: another user's\noom_score_adj: \n"


class TestMachine:
    def test_this_one(self) -> None:
        lines = dict(line.split(": ", 1) for line in machine.describe().splitlines() if line)
        assert lines["backhaul"].startswith(__version__)
        assert sys.version.split()[0] in lines["Python"]
        assert lines["kernel"].split()[1] == os.uname().release
        assert lines["OpenSSL"].startswith("OpenSSL ")
        assert "net.ipv4.tcp_congestion_control" in lines
        assert lines["interface lo"].startswith("MTU 65536")
        assert os.uname().nodename not in lines.values()

    def test_one_without_proc(self, tmp_path: Path) -> None:
        lines = dict(line.split(": ", 1) for line in machine.describe(tmp_path).splitlines() if line)
        assert lines["net.core.somaxconn"] == "not here"
        assert lines["virtualisation"] == "no container is apparent"

    @pytest.mark.parametrize(
        ("mark", "kind"),
        [("run/systemd/container", "lxc"), (".dockerenv", "docker"), ("run/.containerenv", "podman")],
    )
    def test_containers(self, tmp_path: Path, mark: str, kind: str) -> None:
        (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mark).write_text("lxc\n")
        assert f"virtualisation: {kind}\n" in machine.describe(tmp_path)

    def test_all_libraries_of_the_program_are_listed(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lists = [project["dependencies"], *project["optional-dependencies"].values()]
        assert {re.split("[<>=;]", line)[0] for lines in lists for line in lines} == set(machine.LIBRARIES)
