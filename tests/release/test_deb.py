"""Debian's package, read with Debian's tools."""

import shutil
import subprocess
from pathlib import Path

import pytest
from release.deb import tree

from release import debian

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")

WHEN = 1_700_000_000


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Make a directory as PyInstaller would: a program, and a library that needs glibc."""
    folder = tmp_path / "packed"
    (folder / "_internal").mkdir(parents=True)
    (folder / "backhaul").write_text("#!/bin/sh\n")
    (folder / "backhaul").chmod(0o755)
    (folder / "_internal" / "libx.so.1").write_bytes(b"\x7fELF GLIBC_2.4 GLIBC_2.34 GLIBC_2.9 GLIBC_PRIVATE")
    (folder / "_internal" / "libx.so").symlink_to("libx.so.1")
    return folder


@pytest.fixture
def package(packed: Path, tmp_path: Path) -> Path:
    path = tmp_path / "x.deb"
    path.write_bytes(debian.build(packed, WHEN))
    return path


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_dpkg
def test_the_files_are_where_debian_expects_them(package: Path) -> None:
    rows = {row.split("./", 1)[1]: row for row in output("dpkg-deb", "--contents", package).splitlines()}
    assert rows["usr/lib/backhaul/backhaul"].startswith("-rwxr-xr-x root/root")
    assert rows["etc/backhaul/"].startswith("drwxr-xr-x root/root")
    assert {
        "usr/bin/backhaul -> ../lib/backhaul/backhaul",
        "usr/lib/backhaul/_internal/libx.so -> libx.so.1",
        "usr/lib/systemd/system/backhaul@.service",
        "usr/share/man/man1/backhaul.1.gz",
        "usr/share/bash-completion/completions/backhaul",
        "usr/share/zsh/vendor-completions/_backhaul",
        "usr/share/fish/vendor_completions.d/backhaul.fish",
        "etc/backhaul/server.toml.example",
        "etc/backhaul/client.toml.example",
        "usr/share/doc/backhaul/copyright",
    } <= set(rows)


@needs_dpkg
def test_it_names_the_glibc_that_its_libraries_need(package: Path) -> None:
    assert output("dpkg-deb", "--field", package, "Depends") == "libc6 (>= 2.34), passwd\n"


@needs_dpkg
def test_changed_examples_survive_an_upgrade(package: Path, tmp_path: Path) -> None:
    output("dpkg-deb", "--control", package, tmp_path / "control")
    listed = (tmp_path / "control" / "conffiles").read_text().splitlines()
    assert listed == ["/etc/backhaul/server.toml.example", "/etc/backhaul/client.toml.example"]


@needs_dpkg
@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_its_scripts_are_correct_for_the_plainest_shell(package: Path, tmp_path: Path, name: str) -> None:
    output("dpkg-deb", "--control", package, tmp_path / "control")
    output("sh", "-n", tmp_path / "control" / name)


@needs_dpkg
def test_an_upgrade_succeeds_although_a_service_does_not_start_again(package: Path, tmp_path: Path) -> None:
    output("dpkg-deb", "--control", package, tmp_path / "control")
    script = tmp_path / "control" / "postinst"
    script.write_text(script.read_text().replace("/run/systemd/system", str(tmp_path)))
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("getent", "chown", "chmod", "systemctl"):
        (tools / name).write_text('#!/bin/sh\n[ "$1" != try-restart ]\n')
        (tools / name).chmod(0o755)
    command = ["/bin/sh", str(script), "configure", "0.1.0"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": str(tools)})
    assert run.stderr == "backhaul: not all services have started again; see systemctl status 'backhaul@*'\n"
    assert run.returncode == 0


def test_the_same_sources_make_the_same_package(packed: Path) -> None:
    assert debian.build(packed, WHEN) == debian.build(packed, WHEN)
    assert debian.build(packed, WHEN) != debian.build(packed, WHEN + 1)


def test_directories_of_the_source_are_kept(packed: Path) -> None:
    assert [entry.path for entry in tree(packed, "usr/lib/x")] == [
        "usr/lib/x/_internal/libx.so",
        "usr/lib/x/_internal/libx.so.1",
        "usr/lib/x/backhaul",
    ]


def test_the_unit_runs_the_file_of_its_instance() -> None:
    settings = dict(line.split("=", 1) for line in debian.unit().splitlines() if "=" in line and line[0] != "#")
    assert settings["ExecStart"] == "/usr/bin/backhaul -c /etc/backhaul/%i.toml"
    assert settings["StateDirectory"] == "backhaul@%i"
    assert settings["RuntimeDirectory"] == "backhaul/backhaul@%i"
    assert settings["User"] == "backhaul"
    assert settings["NotifyAccess"] == "main"


@needs_systemd
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "backhaul@.service"
    path.write_text(debian.unit().replace("/usr/bin/backhaul", "/bin/true"))
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path.with_name("backhaul@server.service"), path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
