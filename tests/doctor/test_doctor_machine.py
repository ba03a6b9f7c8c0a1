"""The doctor on this machine: ports, descriptors, kernel, files, processes and the running program."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.doctor import SOON, around, gathered, only, verdicts
from tests.support.net import HOST, free_port
from tests.support.tunnel import Net, client_config, server_config

from backhaul import __version__
from backhaul.config import ClientConfig, ServerConfig
from backhaul.doctor import clock, descriptors, files, kernel, ports, processes, program, targets
from backhaul.doctor.diagnosis import Check, diagnose, local
from backhaul.doctor.finding import Finding, Verdict, ok
from backhaul.system import certificate


def server(*mappings: str, bind: str = "", lines: str = "", transport: str = "tcp") -> ServerConfig:
    return server_config(transport, bind or f"{HOST}:{free_port()}", mappings, lines)


class TestPorts:
    def test_all_are_free(self) -> None:
        config = server(f"{HOST}:{free_port()}=80", f"{free_port()}=81", lines="accept_udp = true")
        (found,) = ports.examine(config, around())
        assert (found.verdict, found.text) == (Verdict.OK, "5 of 5 addresses free to listen on")

    @pytest.mark.parametrize("host", [HOST, ""])
    def test_one_is_taken(self, net: Net, host: str) -> None:
        taken = net.listen()
        finding = only(ports.examine(server(f"{host}:{taken.port}=80"), around()))
        name = Path(f"/proc/{os.getpid()}/comm").read_text(encoding="utf-8").strip()
        assert finding.text.endswith(f"{taken.port}: in use by {name} (process {os.getpid()})")
        assert finding.remedy == "stop that one, or choose another port"

    async def test_one_is_the_source_of_a_connection(self, net: Net) -> None:
        near = await net.dial(net.listen().port)
        finding = only(ports.examine(server(f"{HOST}:{near.address[1]}=80"), around()))
        assert "it is the source port of a connection" in finding.text
        assert f"net.ipv4.ip_local_reserved_ports={near.address[1]}" in finding.remedy

    def test_one_is_taken_for_datagrams(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as taken:
            taken.bind((HOST, 0))
            port = taken.getsockname()[1]
            finding = only(ports.examine(server(f"{HOST}:{port}=80", transport="udp"), around()))
        assert f"UDP {HOST}:{port}: in use by" in finding.text

    def test_no_such_address(self) -> None:
        finding = only(ports.examine(server(bind="192.0.2.1:3080"), around()))
        assert finding.text == "bind_addr: 192.0.2.1:3080: this machine has no such address"
        assert "`ip address` shows those that it has" in finding.remedy

    @pytest.mark.skipif(os.geteuid() != 0, reason="takes a capability away")
    def test_a_low_port_without_the_capability(self, tmp_path: Path) -> None:
        file = tmp_path / "server.toml"
        file.write_text(f'[server]\nbind_addr = "{HOST}:1"\ntransport = "tcp"\n')
        rights = ["--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
        command: list[str | Path] = ["setpriv", *rights, sys.executable, "-m", "backhaul", "doctor", "-c", file]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "bind_addr: 127.0.0.1:1: this user may not listen below port 1024" in run.stdout
        assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in run.stdout
        assert run.returncode == 1

    def test_a_unix_socket_without_a_directory(self, tmp_path: Path) -> None:
        finding = only(ports.examine(server(f"unix:{tmp_path}/none/a.sock=80"), around()))
        assert finding.text.endswith(f"no directory {tmp_path}/none")
        assert finding.remedy == "make it, or correct the path"

    def test_a_unix_socket_that_is_taken(self, tmp_path: Path) -> None:
        path = f"{tmp_path}/a.sock"
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind(path)
            taken.listen()
            finding = only(ports.examine(server(f"unix:{path}=80"), around()))
        assert "another program listens on it" in finding.text

    def test_the_running_program_tells_of_its_ports(self) -> None:
        own = [
            {"bind": "", "port": 443, "problem": ""},
            {"bind": "", "port": 80, "problem": "no client"},
            {"bind": HOST, "port": 22, "problem": "address in use"},
        ]
        good, bad = ports.examine(server(), around(programs=({"ports": own},)))
        assert good.text == "the program has 2 ports open, or opens them with a client"
        assert (bad.verdict, bad.text) == (Verdict.FAULT, "127.0.0.1:22: address in use")
        assert "reload" in bad.remedy

    def test_many_faults_are_a_few_lines(self, net: Net) -> None:
        taken = [net.listen().port for _ in range(12)]
        found = list(ports.examine(server(*(f"{HOST}:{port}=80" for port in taken)), around()))
        assert len(found) == 12
        assert found[-1].text == "2 more are not free"

    def test_the_page_of_a_client(self, net: Net) -> None:
        taken = net.listen()
        config = client_config("tcp", f"{HOST}:1", f'web_port = {taken.port}\nweb_bind = "{HOST}"')
        assert f"web_port: {HOST}:{taken.port}: in use by" in only(ports.page(config, around())).text


class TestTargets:
    async def examine(self, config: ClientConfig, *used: dict[str, Any]) -> list[Finding]:
        programs = ({"ports": used},) if used else ()
        return await gathered(targets.examine(config, around(programs=programs, waits=SOON)))

    def config(self, *allowed: str) -> ClientConfig:
        return replace(client_config("tcp", f"{HOST}:1"), allow_targets=allowed)

    async def test_one_that_listens_and_one_that_does_not(self, net: Net, tmp_path: Path) -> None:
        service, nothing = net.listen().port, free_port()
        found = await self.examine(self.config(f":{service}", f"{HOST}:{nothing}", f"unix:{tmp_path}/none.sock"))
        assert [finding.verdict for finding in found] == [Verdict.OK, Verdict.FAULT, Verdict.FAULT]
        assert found[1].text == f"{HOST}:{nothing}: refused: nothing listens on this port"
        assert found[1].remedy == "start the service, or correct the target on the server"
        assert found[2].text == f"unix:{tmp_path}/none.sock: no such file or directory"

    async def test_entries_that_name_many_targets_are_none(self) -> None:
        many = self.config("10.0.0.0/8:80", "udp/10.0.0.1:53", "*.example:80", ":1-9", "host")
        finding = only(await self.examine(many), Verdict.SKIPPED)
        assert finding.text == "none is known yet: the server names them when users connect"

    async def test_targets_of_the_running_program(self, net: Net) -> None:
        service = net.listen().port
        names = [f"{HOST}:{service}", "(others)", "udp/53"]
        used: list[dict[str, Any]] = [{"target": name, "total": 1} for name in names]
        (finding,) = await self.examine(self.config(), *used)
        assert finding.verdict is Verdict.OK


class TestProgram:
    def told(self, side: str = "client", **changes: Any) -> list[Finding]:  # noqa: ANN401 - any field
        state = {"connected": True, "peer": "192.0.2.7", "version": __version__, "started": 0, "reconnects": 0}
        return list(program.examine(around(programs=(state | changes,), now=lambda: 7200.0), side))

    def test_connected(self) -> None:
        found = self.told()
        assert set(verdicts(found).values()) == {Verdict.OK}
        assert found[0].text == "connected to 192.0.2.7, up 2 h"

    @pytest.mark.parametrize(
        ("side", "text", "remedy"),
        [
            ("client", "not connected to the server: why, up 2 h", "the other lines show the reason"),
            ("server", "no client is connected: why, up 2 h", "run `backhaul doctor` on the client"),
        ],
    )
    def test_not_connected(self, side: str, text: str, remedy: str) -> None:
        finding = only(self.told(side, connected=False, problem="why"))
        assert finding.text == text
        assert finding.remedy.startswith(remedy)

    def test_an_older_version_runs(self) -> None:
        finding = only(self.told(version="0.0.1"), Verdict.WARNING)
        assert finding.text == f"it runs version 0.0.1, and {__version__} is installed"
        assert "restart" in finding.remedy

    def test_a_tunnel_that_is_often_lost(self) -> None:
        finding = only(self.told(reconnects=5), Verdict.WARNING)
        assert finding.text == "the tunnel was lost 5 times in 2 h"
        assert "`backhaul doctor --nat` on the client" in finding.remedy

    def test_too_young_to_tell(self) -> None:
        assert only(self.told(started=7100), Verdict.SKIPPED).subject == "nat"

    def test_nothing_runs(self) -> None:
        finding = only(program.examine(around(), "client"), Verdict.SKIPPED)
        assert finding.remedy == "`backhaul -c client.toml` starts one"


class TestProcesses:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "end.toml"
        path.touch()
        return path

    def proc(self, folder: Path, *lines: str) -> Path:
        for number, command in enumerate(lines, 10):
            process = folder / "proc" / str(number)
            process.mkdir(parents=True)
            (process / "cmdline").write_bytes(b"\0".join(word.encode() for word in command.split()) + b"\0")
            (process / "cwd").symlink_to(folder)
        return folder / "proc"

    def test_commands_beside_it_do_not_count(self, file: Path, tmp_path: Path) -> None:
        proc = self.proc(
            tmp_path,
            "/usr/bin/python3 -m backhaul -c end.toml",
            f"/opt/backhaul-v0.7.2 -c {file}",
            "backhaul status -c end.toml",
            "backhaul -c other.toml",
            "vim end.toml",
        )
        assert processes.running(str(file), proc) == [10, 11]

    def test_however_the_file_is_named(self, file: Path, tmp_path: Path) -> None:
        proc = self.proc(
            tmp_path,
            "backhaul -c other.toml -c end.toml",
            "backhaul --config=end.toml",
            f"backhaul -c{file}",
            f"backhaul -c {tmp_path}",
            "backhaul -c other.toml -c",
        )
        assert processes.running(str(file), proc) == [10, 11, 12, 13]

    @pytest.mark.parametrize("command", ["backhaul -c end.toml doctor", "backhaul -c end.toml status --json"])
    def test_a_command_after_its_file_does_not_count(self, file: Path, tmp_path: Path, command: str) -> None:
        assert processes.running(str(file), self.proc(tmp_path, command)) == []

    def test_a_parent_that_waits_for_it_does_not_count(self, file: Path, tmp_path: Path) -> None:
        """The one file with Python inside is two processes, and so is ``sudo backhaul``."""
        proc = self.proc(tmp_path, "sudo backhaul -c end.toml", "backhaul -c end.toml", "backhaul -c end.toml")
        for number, parent in ((10, 1), (11, 10), (12, 11)):
            (proc / str(number) / "stat").write_text(f"{number} (a) name) S {parent} 0 0")
        assert processes.running(str(file), proc) == [12]

    def test_two_of_them_are_a_fault(self, file: Path, tmp_path: Path) -> None:
        proc = self.proc(tmp_path, "backhaul -c end.toml", "backhaul --config end.toml")
        finding = only(program.examine(around(file=str(file), proc=proc), "client"))
        assert finding.text == "2 processes run this file: 10, 11"
        assert "stop all but one" in finding.remedy

    def test_one_that_hangs(self, file: Path, tmp_path: Path) -> None:
        proc, problem = self.proc(tmp_path, "backhaul -c end.toml"), "a.sock: the program runs, but does not answer"
        (finding,) = program.examine(around(file=str(file), proc=proc, problems=(problem,)), "client")
        assert (finding.verdict, finding.text) == (Verdict.FAULT, problem)
        assert "restart the program" in finding.remedy

    @pytest.mark.parametrize(("user", "words"), [(0, ["not on this machine", "container"]), (1000, ["as root"])])
    def test_one_that_does_not_answer(
        self, user: int, words: list[str], file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: user)
        proc = self.proc(file.parent, "backhaul -c end.toml")
        finding = only(program.examine(around(file=str(file), proc=proc), "client"), Verdict.SKIPPED)
        assert finding.text.startswith("process 10 runs this file")
        assert [word for word in words if word not in f"{finding.text}; {finding.remedy}"] == []

    @pytest.mark.parametrize(
        ("limit", "used", "verdict"),
        [(1024, 3, Verdict.WARNING), (65536, 3, Verdict.OK), (65536, 60000, Verdict.FAULT)],
    )
    def test_descriptors(self, file: Path, tmp_path: Path, limit: int, used: int, verdict: Verdict) -> None:
        assert descriptors.judge(limit, used).verdict is verdict
        proc = self.proc(tmp_path, "backhaul -c end.toml")
        (proc / "10/fd").mkdir()
        (proc / "10/limits").write_text(f"Limit Soft Hard Units\nMax open files            {limit} 99 files\n")
        (found,) = descriptors.examine(around(file=str(file), proc=proc))
        assert f"{limit} descriptors" in found.text
        assert not found.remedy or "LimitNOFILE=1048576" in found.remedy


class TestKernel:
    def proc(self, folder: Path, queue: str, buffers: str) -> Path:
        for name, value in {
            "core/somaxconn": queue,
            "ipv4/tcp_wmem": buffers,
            "ipv4/tcp_congestion_control": "bbr",
        }.items():
            path = folder / "sys/net" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value + "\n")
        return folder

    def test_right(self, tmp_path: Path) -> None:
        (found,) = kernel.examine(self.proc(tmp_path, "4096", "4096 16384 16777216"))
        assert (found.verdict, found.text) == (
            Verdict.OK,
            "somaxconn 4096, send buffers up to 16 MiB, congestion control bbr",
        )

    def test_too_small(self, tmp_path: Path) -> None:
        finding = only(kernel.examine(self.proc(tmp_path, "128", "4096 16384 212992")), Verdict.WARNING)
        assert "net.core.somaxconn = 4096 and net.ipv4.tcp_wmem = 4096 16384 16777216" in finding.remedy

    def test_not_shown(self, tmp_path: Path) -> None:
        assert only(kernel.examine(tmp_path), Verdict.SKIPPED)


class TestFiles:
    def test_each_warning_of_the_file_is_a_finding(self) -> None:
        config = replace(client_config("tcp", f"{HOST}:1"), warnings=("token: too short; make a longer one",))
        finding = only(files.examine(config, around()), Verdict.WARNING)
        assert (finding.text, finding.remedy) == ("token: too short", "make a longer one")

    def test_a_list_with_a_mistake_is_no_fault_of_the_certificate(self, tmp_path: Path) -> None:
        made = certificate.make(["a.example"], 90, datetime.now(UTC))
        certificate.write(made, tmp_path, force=True)
        (tmp_path / "deny").write_text("no network\n")
        config = replace(
            server(transport="wss", lines=f'limits = {{ deny_file = "{tmp_path / "deny"}" }}'),
            tls_cert=str(tmp_path / certificate.CERTIFICATE),
            tls_key=str(tmp_path / certificate.KEY),
        )
        assert "limits.deny_file" in only(files.examine(config, around())).text
        assert only(files.certificate(config, made.until.timestamp() - 86400 * 60), Verdict.OK)

    def test_a_state_directory_that_can_not_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch(0o600)
        finding = only(files.state(around(state=tmp_path / "file/state")), Verdict.WARNING)
        assert "is not writable for this user" in finding.text
        assert "STATE_DIRECTORY" in finding.remedy

    @pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="becomes another user")
    def test_a_file_that_the_user_of_the_service_can_not_read(self, tmp_path: Path) -> None:
        file, status = tmp_path / "client.toml", tmp_path / "status.sock"
        file.write_text(f'[client]\nremote_addr = "{HOST}:1"\ntransport = "tcp"\n')
        file.chmod(0o600)
        status.touch()
        os.chown(status, 65534, 65534)
        config = client_config("tcp", f"{HOST}:1", 'security = "required"\ntoken = "a token of this test"')
        finding = only(files.examine(config, around(file=str(file), programs=({"socket": str(status)},))))
        assert finding.text == f"user nobody, as whom the program runs, can't read {file}"
        assert finding.remedy.startswith("correct the permissions of the file")

    def test_the_certificate_of_a_page(self, tmp_path: Path) -> None:
        made = certificate.make(["a.example"], 10, datetime.now(UTC))
        certificate.write(made, tmp_path, force=True)
        cert, key = tmp_path / certificate.CERTIFICATE, tmp_path / certificate.KEY
        lines = f'web_port = 1\nweb_bind = "{HOST}"\nweb_cert = "{cert}"\nweb_key = "{key}"'
        config, now = client_config("tcp", f"{HOST}:1", lines), datetime.now(UTC).timestamp()
        assert only(files.page_certificate(config, now), Verdict.WARNING).subject == "page"
        assert list(files.page_certificate(client_config("tcp", f"{HOST}:1"), now)) == []
        key.write_bytes(certificate.make(["b.example"], 10, datetime.now(UTC)).key)
        assert list(files.page_certificate(config, now)) == []
        for one in (config, server(lines=lines)):
            assert "web_cert: unusable with web_key" in only(files.examine(one, around()), Verdict.FAULT).text

    def test_a_certificate(self, tmp_path: Path) -> None:
        made = certificate.make(["a.example"], 10, datetime.now(UTC))
        certificate.write(made, tmp_path, force=True)
        config = replace(
            server(transport="wss"),
            tls_cert=str(tmp_path / certificate.CERTIFICATE),
            tls_key=str(tmp_path / certificate.KEY),
        )
        now = datetime.now(UTC).timestamp()
        soon = only(files.certificate(config, now), Verdict.WARNING)
        assert soon.text == "the certificate expires in 10 d"
        assert "read without a restart" in soon.remedy
        assert only(files.certificate(config, now + 864000 * 2)).text == "the certificate expired 10 d ago"
        early = only(files.certificate(config, now - 864000))
        assert early.remedy == "set this machine's clock, or make a new certificate"
        other = certificate.make(["b.example"], 10, datetime.now(UTC))
        (tmp_path / certificate.KEY).write_bytes(other.key)
        mismatch = only(files.certificate(config, now))
        assert "the key belongs to another certificate" in mismatch.text
        assert mismatch.remedy == "name the files of one pair"


def test_the_clock_of_this_machine_is_judged_in_some_way() -> None:
    (finding,) = clock.synchronised()
    assert finding.subject == "clock"
    assert finding.verdict is not Verdict.FAULT


class TestDiagnosis:
    async def test_a_check_that_fails_or_hangs_leaves_the_others_alone(self) -> None:
        async def hang() -> Any:  # noqa: ANN401 - a generator
            yield ok("slow", "first")
            await asyncio.Event().wait()

        def fail() -> Iterable[Finding]:
            raise RuntimeError("defect")

        checks = [Check("slow", hang), local("broken", fail), local("right", partial(lambda: [ok("right", "yes")]))]
        found = await diagnose(checks, 1.0)
        assert [finding.text for finding in found] == [
            "first",
            "no result within 1 s",
            "this check failed: RuntimeError: defect",
            "yes",
        ]
