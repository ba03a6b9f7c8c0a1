"""The rules by which the doctor judges figures, errors and names."""

import ctypes
import errno
import os
import resource
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.doctor import SOON, answering, around, gathered, only, travel
from tests.support.net import HOST, free_port
from tests.support.tunnel import Net, client_config, server_config

from backhaul import __version__
from backhaul.config import ClientConfig, ServerConfig
from backhaul.doctor import clock, descriptors, diagnosis, files, line, ports, program, reach, targets
from backhaul.doctor.finding import Finding, Verdict, ok
from backhaul.doctor.names import Place

PAGE = "web_port = 2"
FOUR, SIX = Place(socket.AF_INET, (HOST, 1)), Place(socket.AF_INET6, ("::1", 1, 0, 0))


def attempt(place: Place, number: int = 0, seconds: float = 0.1) -> reach.Arrival:
    return reach.Arrival(place, seconds, OSError(number, os.strerror(number)) if number else None)


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_a_family_without_a_route_is_no_fault_if_the_other_one_works(number: int) -> None:
    skipped = only(reach.findings([attempt(FOUR), attempt(SIX, number)]), Verdict.SKIPPED)
    assert skipped.text == "[::1]:1: no route from this machine; another address works"
    for finding in reach.findings([attempt(FOUR, errno.ECONNREFUSED), attempt(SIX, number)]):
        assert finding.verdict is Verdict.FAULT
    assert finding.text.startswith("[::1]:1: no route: ")
    assert finding.remedy == "check this machine's network, or correct the address"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_firewall_of_this_machine_is_named(number: int) -> None:
    finding = only(reach.findings([attempt(FOUR, number)]))
    assert "forbidden" in finding.text
    assert finding.remedy == "let this machine's firewall pass TCP to port 1"


def test_the_best_attempt_is_the_fastest_that_succeeded() -> None:
    slow, fast, failed = attempt(FOUR, 0, 0.2), attempt(SIX, 0, 0.1), attempt(FOUR, errno.ECONNREFUSED, 0.01)
    assert reach.best([slow, fast, failed]) is fast


def test_a_line_on_which_connections_fail_is_lossy() -> None:
    found = line.summarise([attempt(FOUR, errno.ETIMEDOUT)] * 2, [])
    assert found.verdict is Verdict.WARNING
    assert found.text == "round trip unknown, loss unknown, 2 connections of 2 failed"


@pytest.mark.parametrize(
    ("state", "verdict"), [(0, Verdict.OK), (4, Verdict.OK), (5, Verdict.WARNING), (-1, Verdict.SKIPPED)]
)
def test_the_kernel_knows_whether_the_clock_is_set(
    state: int, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(adjtimex=lambda _: state))
    assert only(clock.synchronised(), verdict)


def test_a_system_may_not_know_whether_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert only(clock.synchronised(), Verdict.SKIPPED)


class TestDescriptors:
    def test_a_user_takes_two(self) -> None:
        assert descriptors.judge(4096, 0).text == "4096 descriptors, for about 2048 users at a time"
        assert descriptors.judge(sys.maxsize, 1 << 20).text == "no limit"

    @pytest.mark.parametrize(
        ("hard", "text"), [(5000, "5000 descriptors"), (resource.RLIM_INFINITY, "no limit")], ids=["some", "none"]
    )
    @pytest.mark.parametrize("content", [None, "", "Max open files\n", "Max open files x y\n"])
    def test_without_a_process_those_of_the_shell_count(
        self, content: str | None, hard: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The program raises the soft limit to the hard one. Processes of another user show nothing."""
        monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
        file, proc = running(tmp_path, "backhaul -c a.toml")
        if content is not None:
            (proc / "10/limits").write_text(content)
        assert only(descriptors.examine(around(file=str(file), proc=proc)), Verdict.OK).text.startswith(text)


def unknown(_name: str) -> Any:  # noqa: ANN401 - never returns
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def running(folder: Path, *commands: str) -> tuple[Path, Path]:
    """Return a file, and a ``/proc`` with processes of these commands in its directory."""
    file, proc = folder / "a.toml", folder / "proc"
    file.touch()
    for number, command in enumerate(commands, 10):
        (proc / str(number)).mkdir(parents=True)
        (proc / str(number) / "cmdline").write_text(command.replace(" ", "\0") + "\0")
        (proc / str(number) / "cwd").symlink_to(folder)
    return file, proc


class TestProgram:
    def told(self, **changes: Any) -> list[Finding]:  # noqa: ANN401 - any field
        state = {"connected": True, "peer": "192.0.2.7", "version": __version__, "started": 0, "reconnects": 1}
        return list(program.examine(around(programs=(state | changes,), now=lambda: 7200.0), "server"))

    def test_a_tunnel_that_is_seldom_lost(self) -> None:
        assert self.told()[-1].text == "idle connections survive: the tunnel was lost 1 time in 2 h"

    def test_one_without_a_reason(self) -> None:
        assert only(self.told(connected=False)).text == "no client is connected, up 2 h"

    @pytest.mark.parametrize(
        ("user", "foreign", "text"),
        [
            (0, (), "no program runs this file"),
            (1000, (), "no program that this user may see runs this file"),
            (1000, (Path("a.sock"),), "not known whether a program runs this file: a.sock is owned by another user"),
        ],
    )
    def test_none_that_can_be_seen(
        self, user: int, foreign: tuple[Path, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: user)
        (found,) = program.examine(around(proc=tmp_path, foreign=foreign), "server")
        assert (found.verdict, found.text) == (Verdict.SKIPPED, text)

    def test_a_restart_is_no_second_program(self, tmp_path: Path) -> None:
        file, proc = running(tmp_path, "backhaul -c a.toml", "backhaul -c a.toml")
        for stopping in (False, True):
            state = {"stopping": stopping, "version": __version__}
            found = [*program.examine(around(file=str(file), proc=proc, programs=(state,)), "server")]
            assert any("2 processes run this file" in finding.text for finding in found) is not stopping


class TestPorts:
    def test_a_program_that_does_not_answer_has_them(self, tmp_path: Path) -> None:
        file, proc = running(tmp_path, "backhaul -c a.toml")
        found = ports.examine(server_config("tcp", f"{HOST}:1", []), around(file=str(file), proc=proc))
        assert only(found, Verdict.SKIPPED).remedy == "see the line `program`"

    def test_the_process_that_has_one_cannot_be_seen(self, net: Net, tmp_path: Path) -> None:
        """It may be the program itself, which nobody is told to stop."""
        (tmp_path / "net").symlink_to("/proc/net")
        config = server_config("tcp", f"{HOST}:{net.listen().port}", [])
        finding = only(ports.examine(config, around(proc=tmp_path)))
        assert finding.text.endswith("in use by a process that can't be seen here")
        assert finding.remedy.startswith("it may be this program: ")

    def test_a_client_that_runs_has_the_port_of_its_page(self, tmp_path: Path) -> None:
        file, proc = running(tmp_path, "backhaul -c a.toml")
        config = client_config("tcp", f"{HOST}:1", f'web_port = {free_port()}\nweb_bind = "{HOST}"')
        assert [*ports.page(config, around(programs=({},)))] == []
        assert [*ports.page(config, around(file=str(file), proc=proc))] == []
        assert only(ports.page(config, around()), Verdict.OK)

    def test_many_ports_of_the_program_that_are_down(self) -> None:
        own = [{"port": port, "problem": "address in use"} for port in range(1, 12)]
        found = [*ports.examine(server_config("tcp", f"{HOST}:1", []), around(programs=({"ports": own},)))]
        assert [finding.text for finding in found] == [
            *(f"*:{port}: address in use" for port in range(1, 11)),
            "1 more are not free",
        ]

    @pytest.mark.parametrize(
        ("transport", "lines", "entry", "count"),
        [
            ("udp", "", "", 3),
            ("tcp", "", "", 2),
            ("tcp", "accept_udp = true", "", 3),
            ("tcp", "accept_udp = true", "unix:/x", 2),
        ],
    )
    def test_both_kinds_of_ports_are_tried(self, transport: str, lines: str, entry: str, count: int) -> None:
        mapping = f"{HOST}:{free_port()}={entry or 1}"
        found = ports.examine(server_config(transport, f"{HOST}:{free_port()}", [mapping], lines), around())
        assert only(found, Verdict.OK).text == f"{count} of {count} addresses free to listen on"


class TestFiles:
    def test_a_file_without_a_mistake_or_a_warning_is_fine(self) -> None:
        config = client_config("wss", f"{HOST}:1", warnings=())
        assert [*files.examine(config, around())] == [ok("file", "read, without a warning")]
        wrong = replace(config, tls_verify=True, tls_ca="/none")
        assert only(files.examine(wrong, around())).text.startswith("tls_ca")

    def test_a_directory_for_the_state_may_be_made_later(self, tmp_path: Path) -> None:
        folder = tmp_path / "a/b"
        assert [*files.state(around(state=folder))] == [ok("state", f"{folder} is writable")]

    @pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="becomes another user")
    @pytest.mark.parametrize(
        ("config", "keys"),
        [
            (server_config("wss", f"{HOST}:1", [], PAGE), ["token_file", "web_cert", "web_key", "tls_cert", "tls_key"]),
            (server_config("tcp", f"{HOST}:1", [], PAGE), ["token_file", "web_cert", "web_key"]),
            (client_config("wss", f"{HOST}:1"), ["token_file", "tls_ca"]),
            (client_config("tcp", f"{HOST}:1"), ["token_file"]),
        ],
        ids=["wss server", "tcp server", "wss client", "tcp client"],
    )
    def test_the_user_of_the_service_must_read_all_files(
        self, config: ServerConfig | ClientConfig, keys: list[str], tmp_path: Path
    ) -> None:
        paths = {key: str(tmp_path / key) for key in ("file", "tls_cert", "tls_key", "tls_ca", *keys)}
        for path in paths.values():
            Path(path).touch(0o600)
        status = tmp_path / "status.sock"
        status.touch()
        os.chown(status, 65534, 65534)
        own = {key: path for key, path in paths.items() if hasattr(config, key)}
        found = files.examine(replace(config, **own), around(file=paths["file"], programs=({"socket": str(status)},)))
        unread = {finding.text.rpartition("can't read ")[2] for finding in found if "can't read" in finding.text}
        assert unread == {paths[key] for key in ("file", *keys)}


class TestTargets:
    async def examine(self, allowed: Sequence[str] = (), used: Sequence[dict[str, Any]] = ()) -> list[Finding]:
        config = client_config("tcp", f"{HOST}:1", allow_targets=tuple(allowed))
        programs = ({"ports": list(used)},) if used else ()
        return await gathered(targets.examine(config, around(programs=programs, waits=SOON, names=unknown)))

    async def test_a_name_without_an_address(self) -> None:
        finding = only(await self.examine(["no.example:80"]))
        assert finding.text == "no.example:80: no.example: no such name, or it has no address"
        assert finding.remedy == "correct the target in `ports` on the server, or its name"

    async def test_only_some_of_many_are_tried(self) -> None:
        found = await self.examine([f"unix:/none/{number}" for number in range(66)])
        assert len(found) == 65
        assert found[-1].text == "2 more targets are known and not checked"

    async def test_a_target_of_datagrams_alone_is_none(self) -> None:
        for flows in (1, 0):  # present ones, and those that have ended
            used = [{"target": "1", "udp_flows": flows, "total": 0, "dropped": 0, "refused": 0}]
            assert only(await self.examine(used=used), Verdict.SKIPPED)
        for count in ("total", "dropped", "refused"):
            other = {"target": "1", "udp_flows": 1, count: 1}
            assert only(await self.examine(used=[other])).text == "1: refused: nothing listens on this port"


async def test_the_first_of_many_addresses_are_shown() -> None:
    names = answering(*(f"127.0.0.{number}" for number in range(1, 7)))
    found = await travel(client_config("tcp", f"server.example:{free_port()}"), names=names, waits=SOON)
    shown = ", ".join(f"127.0.0.{number} (IPv4)" for number in range(1, 5))
    assert found[0].text.startswith(f"server.example: 6 addresses: {shown}, and 2 more in ")


def test_a_check_may_take_as_long_as_the_longest_silence() -> None:
    assert around(silences=(5.0, 120.0)).limit == around().limit + 120.0


async def test_a_check_without_memory_is_no_defect() -> None:
    def fail() -> list[Finding]:
        raise MemoryError("no memory")

    finding = only(await diagnosis.diagnose([diagnosis.local("one", fail)], 1.0))
    assert finding.text == "this check has no memory or no thread: no memory"
