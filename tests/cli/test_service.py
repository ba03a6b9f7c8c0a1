"""The command ``backhaul service`` on machines with and without systemd."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.cli import service
from backhaul.cli.main import run
from backhaul.system.systemd import Systemd, make_user, objection
from backhaul.system.unit import MARK

SERVER = '[server]\nbind_addr = ":3080"\ntransport = "tcp"\ntoken = "x"\nports = ["443"]\n'
USER = "nobody"  # present on every machine, and without any rights
# Another user may be unable to read the Python of the tests; only reading the configuration matters here.
READER = ("/bin/sh", "-c", 'exec /bin/cat "$1"')

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


class Machine:
    """A machine run by systemd, as the commands see it: they write to its files and call its systemctl."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.units = folder / "units"
        self.units.mkdir()
        self.config = folder / "config.toml"
        self.config.write_text(SERVER)
        self._calls = folder / "calls"
        self.systemctl = folder / "systemctl"
        self.answer("exit 0")
        self.manager = Systemd(units=self.units, booted=self.units, systemctl=str(self.systemctl), temporary=())

    def answer(self, line: str) -> None:
        self.systemctl.write_text(f'#!/bin/sh\necho "$@" >>{self._calls}\n{line}\n')
        self.systemctl.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    def install(self, *, user: str = USER, dry: bool = False) -> int:
        return service.install(
            str(self.config), name="tunnel", user=user, dry=dry, manager=self.manager, program=READER
        )


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory() as folder:
        yield Machine(Path(folder))


@needs_root
def test_install_and_uninstall(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.install() == 0
    unit = machine.units / "tunnel.service"
    assert unit.read_text().startswith(MARK)
    assert f"User={USER}\n" in unit.read_text()
    assert machine.calls == ["daemon-reload", "enable tunnel.service", "restart tunnel.service"]
    assert f"{unit} is installed, enabled and running as user {USER}\n" in capsys.readouterr().out
    assert machine.install() == 0  # again
    assert list(machine.units.iterdir()) == [unit]
    assert service.uninstall(name="tunnel", manager=machine.manager) == 0
    assert machine.calls[6:] == ["disable --now tunnel.service", "daemon-reload"]
    assert list(machine.units.iterdir()) == []


@needs_root
def test_a_file_that_the_user_cannot_read_is_named_with_a_remedy(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.config.chmod(0o600)
    assert machine.install() == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.splitlines()[0] == f'backhaul service: the service\'s user "{USER}" cannot run {machine.config}:'
    assert "Permission denied" in errors
    assert f"  install -D -o {USER} -m 600 {machine.config} /etc/backhaul/config.toml\n" in errors
    assert "--user root" in errors
    assert machine.calls == []
    assert list(machine.units.iterdir()) == []
    assert machine.install(user="root") == 0


@needs_root
def test_a_file_in_its_place_that_the_user_cannot_read_is_to_change_its_owner(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.manager = replace(machine.manager, settings=machine.config.parent)
    machine.config.chmod(0o600)
    assert machine.install() == 1
    remedy = f"let that user read what is there:\n  chown -R {USER} {machine.config}\n"
    assert remedy in capsys.readouterr().err
    shutil.chown(machine.config, USER)
    assert machine.install() == 0


@needs_root
def test_a_directory_that_the_user_cannot_read_is_to_be_copied(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = machine.config.parent / "ends"
    folder.mkdir(0o700)
    machine.config = machine.config.rename(folder / "config.toml").parent
    machine.manager = replace(machine.manager, settings=folder.parent / "etc")
    assert machine.install() == 1
    command = capsys.readouterr().err.splitlines()[-2]
    subprocess.run(["/bin/sh", "-c", command], check=True)
    copy = folder.parent / "etc" / "ends" / "config.toml"
    assert copy.read_text() == SERVER
    assert copy.owner() == USER


@needs_root
def test_root_without_capabilities_reads_only_its_own_files(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(0o600)
    assert objection("root", ["cat", str(file)]) == ""
    os.chown(file, 65534, 65534)
    assert "Permission denied" in objection("root", ["cat", str(file)])


@needs_root
def test_a_directory_that_the_user_cannot_write_to_is_named(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.config.write_text(f'{SERVER}sniffer = true\nsniffer_log = "/usr/x.json"\n')
    assert machine.install() == 1
    line = f'sniffer_log, access_log: user "{USER}" cannot write to /usr; the service has /var/lib/tunnel\n'
    assert capsys.readouterr().err == f"backhaul service: {line}"


@needs_root
def test_a_missing_user_is_named(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.install(user="no-such-user") == 1
    assert capsys.readouterr().err == (
        'backhaul service: user "no-such-user" does not exist; add it, or choose another with --user\n'
    )


@needs_root
def test_a_unit_written_by_others_stays(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    unit = machine.units / "tunnel.service"
    unit.write_text("[Service]\nExecStart=/root/backhaul -c /root/config.toml\n")
    before = unit.read_text()
    assert machine.install() == 1
    assert service.uninstall(name="tunnel", manager=machine.manager) == 1
    errors = capsys.readouterr().err.splitlines()
    text = f"backhaul service: {unit} was not written by this command; move it away or choose another --name"
    assert errors == [text, text]
    assert unit.read_text() == before
    assert machine.calls == []


@needs_root
def test_a_missing_service_cannot_be_removed(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert service.uninstall(name="other", manager=machine.manager) == 1
    assert "does not exist" in capsys.readouterr().err


@needs_root
def test_a_service_that_does_not_start_is_reported(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.answer('if [ "$1" = restart ]; then echo "Job failed." >&2; exit 1; fi')
    assert machine.install() == 1
    errors = capsys.readouterr().err
    assert errors.startswith("backhaul service: ")
    assert errors.endswith("restart tunnel.service` failed; Job failed.; `journalctl -u tunnel` shows why\n")


@needs_root
@pytest.mark.parametrize("code", [0, 3])
def test_status_has_the_exit_code_of_systemctl(code: int, machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    machine.answer(f"echo 'Active: perhaps'; exit {code}")
    assert service.status(name="tunnel", manager=machine.manager) == code
    assert machine.calls == ["--no-pager --full status tunnel.service"]
    assert capfd.readouterr().out == "Active: perhaps\n"


@needs_root
def test_a_missing_systemctl_is_reported(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    manager = replace(machine.manager, systemctl="/no/such/systemctl")
    assert service.status(name="tunnel", manager=manager) == 1
    assert capsys.readouterr().err == "backhaul service: cannot run /no/such/systemctl: no such file or directory\n"


def test_without_systemd_the_unit_is_only_shown(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.manager = replace(machine.manager, booted=Path("/no/such"))
    assert machine.install() == 1
    assert service.uninstall(name="tunnel", manager=machine.manager) == 1
    assert service.status(name="tunnel", manager=machine.manager) == 1
    line = "backhaul service: systemd does not run this machine; `backhaul service install --print` shows the unit"
    assert capsys.readouterr().err.splitlines() == [line] * 3
    assert machine.install(dry=True) == 0
    assert capsys.readouterr().out.startswith(MARK)
    assert machine.calls == []


def test_without_root_nothing_is_changed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert machine.install() == 1
    assert capsys.readouterr().err == "backhaul service: changing services requires root; use sudo\n"
    assert machine.calls == []


def test_files_in_a_temporary_directory_are_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    machine.manager = replace(machine.manager, temporary=(machine.config.parent,))
    assert machine.install() == 1
    assert capsys.readouterr().err.startswith(f"backhaul service: the configuration: {machine.config} is temporary")
    assert machine.calls == []


def test_the_files_of_a_directory_share_a_unit_with_the_rights_that_any_needs(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "ends"
    folder.mkdir()
    lines = 'transport = "tcp"\nskip_optz = true\n'
    (folder / "public.toml").write_text(f'[server]\nbind_addr = ":1"\nshutdown_timeout = 60\n{lines}')
    (folder / "behind.toml").write_text(f'[client]\nremote_addr = "a:1"\nbind_interface = "eth1"\n{lines}')
    assert service.install(str(folder), name="tunnel", user="backhaul", dry=True, manager=machine.manager) == 0
    unit = capsys.readouterr().out
    assert re.search(rf"^ExecStart=.* -c {folder}$", unit, re.MULTILINE)
    assert "\nAmbientCapabilities=CAP_NET_BIND_SERVICE CAP_NET_RAW\n" in unit
    assert "\nTimeoutStopSec=75\n" in unit


def test_a_broken_configuration_is_reported_as_by_check(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.config.write_text("[server]\n")
    assert machine.install() == 2
    assert f"{machine.config}: server.bind_addr: missing" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="needs systemd-sysusers")
@needs_root
def test_the_user_is_added_once(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for _ in range(2):
        make_user("backhaul", tmp_path)
    users = (tmp_path / "etc/passwd").read_text().splitlines()
    assert [line.split(":")[0] for line in users if "Backhaul" in line] == ["backhaul"]
    assert users[0].endswith("nologin")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["install", "--print"], 0, "ExecStart="),
        (["install", "--print", "--user", "root"], 0, "User=root"),
        (["install", "--print", "--name", "a b"], 2, '"a b" may contain only'),
        (["install", "--print", "--name", "../x"], 2, '"../x" may contain only'),
        (["uninstall", "--print"], 2, "unrecognized arguments"),
        ([], 2, "required: action"),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_the_command_line(
    arguments: Sequence[str], code: int, words: str, *, early: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(SERVER)
    chosen = ["-c", str(file)]
    late = [] if early or arguments[:1] != ["install"] else chosen
    with pytest.raises(SystemExit) as end:
        run([*(chosen if early else []), "service", *arguments, *late])
    assert end.value.code == code
    assert words in "".join(capsys.readouterr())


def test_the_program_runs_without_memory_that_is_writable_and_executable() -> None:
    """As under MemoryDenyWriteExecute=yes: both ends, with all their libraries."""
    script = (
        "import ctypes, os, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
        "os.execv(sys.executable, [sys.executable, '-m', 'backhaul', 'demo', '--once'])\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    if run.returncode == 77:
        pytest.skip("needs Linux 6.3")
    assert run.returncode == 0, run.stdout + run.stderr
