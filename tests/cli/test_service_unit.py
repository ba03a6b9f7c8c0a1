"""The unit written by ``backhaul service``, checked with systemd's own tools."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.cli import service
from backhaul.config.loader import parse
from backhaul.errors import BackhaulError
from backhaul.system.unit import Unit

SERVER = '[server]\nbind_addr = ":3080"\ntransport = "tcp"\ntoken = "x"\nports = ["443"]\n'
CLIENT = '[client]\nremote_addr = "a:3080"\ntransport = "tcp"\ntoken = "x"\n'
USER = "nobody"  # present on every machine, and without any rights

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def plan(text: str, path: str = "/etc/backhaul/config.toml", user: str = "backhaul") -> Unit:
    return service.plan(parse(text), Path(path), name="backhaul", user=user)


def settings(unit: Unit) -> dict[str, str]:
    """Return the settings; the last value of one that occurs twice."""
    return dict(line.split("=", 1) for line in unit.text().splitlines() if "=" in line and line[0] != "#")


ODD = "/srv/a \"b\" 'c' $HOME %n \\x41 é;.toml"
UNITS = {
    "server": plan(SERVER),
    "server without tuning": plan(f"{SERVER}skip_optz = true"),
    "client": plan(CLIENT),
    "client without rights": plan(f"{CLIENT}skip_optz = true"),
    "as root": plan(SERVER, user="root"),
    "in a home": plan(SERVER, "/root/config.toml"),
    "with a log elsewhere": plan(f'{SERVER}sniffer = true\nsniffer_log = "/var/log/a b/x.json"'),
    "an odd file": plan(SERVER, ODD),
}


@needs_systemd
@pytest.mark.parametrize("case", UNITS)
def test_systemd_accepts_the_unit(case: str, tmp_path: Path) -> None:
    assert verify(UNITS[case], tmp_path) == ""


@needs_systemd
def test_systemd_reports_unknown_settings(tmp_path: Path) -> None:
    """Without this the test before would prove nothing."""
    odd = replace(UNITS["server"], about="x\nNoSuchSetting=1")
    assert "NoSuchSetting" in verify(odd, tmp_path)


@needs_systemd
def test_systemd_finds_a_program_of_any_name(tmp_path: Path) -> None:
    program = tmp_path / "a (b) $HOME %n é;"
    unit = replace(UNITS["server"], command=(str(program), ODD))
    assert "is not executable" in verify(unit, tmp_path)
    program.symlink_to("/bin/true")
    assert verify(unit, tmp_path) == ""


@needs_systemd
@pytest.mark.parametrize("case", UNITS)
def test_systemd_rates_the_exposure_low(case: str, tmp_path: Path) -> None:
    """Exposure goes from 0 to 100; a unit that only names a program gets 96."""
    file = written(UNITS[case], tmp_path)
    run = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=30", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def verify(unit: Unit, folder: Path) -> str:
    command = ["systemd-analyze", "verify", "--man=no", written(unit, folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def written(unit: Unit, folder: Path) -> str:
    file = folder / f"{unit.name}.service"
    file.write_text(unit.text())
    return str(file)


@pytest.mark.parametrize(
    ("text", "capabilities", "tunables"),
    [
        (SERVER, "CAP_NET_BIND_SERVICE CAP_NET_ADMIN", "no"),
        (f"{SERVER}skip_optz = true", "CAP_NET_BIND_SERVICE", "yes"),
        (CLIENT, "CAP_NET_ADMIN", "no"),
        (f"{CLIENT}skip_optz = true", "", "yes"),
        (f"{CLIENT}skip_optz = true\nmark = 7", "CAP_NET_ADMIN", "yes"),
        (f'{CLIENT}mark = 7\nbind_interface = "eth1"', "CAP_NET_ADMIN CAP_NET_RAW", "no"),
        (
            f'{CLIENT}servers = [{{ addr = "b:1", bind_interface = "eth1", mark = 7 }}]',
            "CAP_NET_ADMIN CAP_NET_RAW",
            "no",
        ),
        (f"{CLIENT}skip_optz = true\nweb_port = 80", "CAP_NET_BIND_SERVICE", "yes"),
        (f"{CLIENT}skip_optz = true\nweb_port = 2060", "", "yes"),
        (f'{CLIENT}skip_optz = true\nweb_port = 80\nweb_bind = "unix:/run/backhaul/page"', "", "yes"),
    ],
)
def test_the_unit_grants_only_the_needed_rights(text: str, capabilities: str, tunables: str) -> None:
    found = settings(plan(text))
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == capabilities
    assert found["ProtectKernelTunables"] == tunables


def test_it_keeps_the_program_running() -> None:
    found = settings(plan(f"{SERVER}shutdown_timeout = 600"))
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "ExecStart": f"{sys.executable} -P -m backhaul -c /etc/backhaul/config.toml",
        "ExecReload": "/bin/kill -HUP $MAINPID",
        "Restart": "always",
        "RestartSec": "3",
        "LimitNOFILE": "1048576",
        "NoNewPrivileges": "yes",
        "User": "backhaul",
        "StateDirectory": "backhaul",
        "TimeoutStopSec": "615",
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("path", "home"), [("/root/c.toml", "read-only"), ("/home/a/c.toml", "read-only"), ("/etc/c.toml", "yes")]
)
def test_homes_are_hidden_unless_a_file_is_there(path: str, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, prefix, "/opt")
    assert settings(plan(SERVER, path))["ProtectHome"] == home


def test_a_link_into_a_home_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, prefix, "/opt")
    link = tmp_path / "config.toml"
    link.symlink_to("/root/config.toml")
    assert settings(plan(SERVER, str(link)))["ProtectHome"] == "read-only"


@pytest.mark.parametrize(
    ("log", "writable"),
    [
        ("", None),
        ('sniffer_log = "/root/log.json"', None),
        ("sniffer = true", None),
        ('sniffer = true\nsniffer_log = "/var/lib/backhaul/x.json"', None),
        ('sniffer = true\nsniffer_log = "/root/log.json"', "-/root"),
    ],
)
def test_only_the_usage_log_opens_another_directory(log: str, writable: str | None) -> None:
    assert settings(plan(f"{SERVER}{log}")).get("ReadWritePaths") == writable


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f'{SERVER}tls_cert = "file"\ntls_key = "/dev/null"', "tls_cert"),
        (f'{SERVER}tls_cert = "/dev/null"\ntls_key = "file"', "tls_key"),
        (f'{SERVER}tls_cert = "/dev/null"\ntls_key = "/dev/null"\ndecoy = "folder"', "decoy"),
        (f'{CLIENT}tls_ca = "file"\ntls_verify = true', "tls_ca"),
    ],
)
def test_a_relative_path_is_named(text: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    with pytest.raises(BackhaulError, match=rf'^{key}: "(file|folder)" is relative, and a service starts in /var/lib/'):
        plan(text.replace('"tcp"', '"wss"'))
    if key != "decoy":
        plan(text)  # without effect on tcp


@pytest.mark.parametrize("key", ["web_cert", "web_key", "web_client_ca"])
def test_a_relative_file_of_the_page_is_named(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    named = dict.fromkeys(("web_cert", "web_key", "web_client_ca"), "/dev/null") | {key: "file"}
    text = CLIENT + "".join(f'{name} = "{file}"\n' for name, file in named.items())
    with pytest.raises(BackhaulError, match=f'^{key}: "file" is relative, and a service starts in /var/lib/'):
        plan(f"{text}web_port = 80\n")
    plan(text)  # without effect without a page


def test_a_relative_file_of_tokens_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("a token of some length")
    text = CLIENT.replace("token =", "#") + 'token_file = "file"'
    with pytest.raises(BackhaulError, match=r'^token_file: "file" is relative, and a service starts in /var/lib/'):
        plan(text)


@pytest.mark.parametrize("entry", ['transport = "wss", tls_ca = "file"', 'token_file = "file"'])
def test_a_relative_path_of_another_server_is_named(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("a token of some length")
    with pytest.raises(BackhaulError, match=r'^servers\[1\]\.(tls_ca|token_file): "file" is relative'):
        plan(f'{CLIENT}servers = [{{ addr = "b:1", {entry} }}]')


def test_a_path_that_no_unit_can_name_is_refused() -> None:
    with pytest.raises(ValueError, match="control character"):
        plan(SERVER, "/srv/a\nUser=root").text()


def test_a_program_that_forks_may_notify_from_its_child() -> None:
    assert settings(plan(SERVER))["NotifyAccess"] == "main"
    assert settings(replace(plan(SERVER), forks=True))["NotifyAccess"] == "all"
