import errno
import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.monitor.sample import Tunnel, port
from tests.support.net import until

from backhaul.monitor import files
from backhaul.monitor.status import OTHERS
from backhaul.monitor.usage import UsageLog, keeping


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.json"


def carried(*loads: tuple[int, int, int]) -> Tunnel:
    """Return a tunnel whose ports moved (port, received, sent)."""
    return Tunnel(*(port(number, received=received, sent=sent) for number, received, sent in loads))


def set_loads(tunnel: Tunnel, *loads: tuple[int, int, int]) -> None:
    tunnel.say(ports=carried(*loads).status.ports)


def saved(path: Path) -> dict[int, int]:
    return {entry["Port"]: entry["Usage"] for entry in json.loads(path.read_bytes())}


def run_once(path: Path, *loads: tuple[int, int, int]) -> None:
    """Keep the usage of one run of the program that moved ``loads``."""
    tunnel = Tunnel()
    log = UsageLog(str(path), tunnel.read)
    log.load()
    set_loads(tunnel, *loads)
    log.tick()
    log.save()


def test_both_directions_are_added_up_over_runs(path: Path) -> None:
    run_once(path, (443, 10, 5), (80, 1, 0))
    run_once(path, (443, 100, 0))
    assert saved(path) == {443: 115, 80: 1}


def test_ports_that_share_a_number_share_a_line(path: Path) -> None:
    run_once(path, (443, 1, 2), (443, 10, 20))
    assert saved(path) == {443: 33}


def test_each_byte_counts_once_however_often_usage_is_read(path: Path) -> None:
    tunnel = carried((443, 0, 0))
    log = UsageLog(str(path), tunnel.read)
    for received in (5, 5, 9):
        set_loads(tunnel, (443, received, 0))
        log.tick()
    assert log.totals() == {443: 9}


def test_another_target_or_protocol_does_not_count_again(path: Path) -> None:
    entry = port(443, received=9)
    tunnel = Tunnel(entry)
    log = UsageLog(str(path), tunnel.read)
    other, new = replace(entry, target="1", protocol="tcp"), replace(entry, received=3, protocol="udp")
    for ports in ((entry,), (other,), (other, new), (new, other), (replace(other, protocol=""),)):
        tunnel.say(ports=ports)
        log.tick()
    assert log.totals() == {443: 3}


def test_a_restarted_monitor_does_not_count_again(path: Path) -> None:
    tunnel = carried((443, 100, 0))
    log = UsageLog(str(path), tunnel.read)
    set_loads(tunnel, (443, 103, 0))
    assert log.totals() == {443: 3}


def test_a_target_moved_to_the_others_does_not_count_again(path: Path) -> None:
    """The other bytes of the others do count."""
    tunnel = carried((443, 7, 0))
    others = replace(port(0, received=12, target=OTHERS), bind="")
    log = UsageLog(str(path), tunnel.read)
    set_loads(tunnel, (443, 12, 0))
    log.tick()
    tunnel.say(ports=(others,))
    assert log.totals() == {443: 5, 0: 0}
    tunnel.say(ports=(replace(others, received=13),))
    assert log.totals() == {443: 5, 0: 1}


def test_a_port_that_returns_after_a_reload_continues_its_count(path: Path) -> None:
    tunnel = Tunnel()
    log = UsageLog(str(path), tunnel.read)
    for loads in ([(443, 7, 0)], [], [(443, 2, 0)], [(443, 1, 0)]):
        set_loads(tunnel, *loads)
        log.tick()
    assert log.totals() == {443: 7 + 2 + 1}


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ('[{"Port":443,"Usage":123},{"Port":80,"Usage":1}]', {443: 123, 80: 1}),
        ('{"port_usages":{"443":123,"80":1},"total_usage":99999}', {443: 123, 80: 1}),
        ('{"port_usages":{"443":18446744073709551615},"total_usage":0}', {443: 2**64 - 1}),
        ('{"port_usages":null,"total_usage":0}', {}),
        ('{"port_usages":{}}', {}),
        ("[]", {}),
        ("null", {}),
        (" \n", {}),
        ("", {}),
    ],
)
def test_every_format_of_the_go_program_is_read(path: Path, content: str, kept: dict[int, int]) -> None:
    path.write_text(content)
    log = UsageLog(str(path), Tunnel().read)
    log.load()
    assert log.totals() == kept
    log.save()
    assert path.read_text() == content  # nothing new, nothing written


BROKEN = [
    '{"port_usages":{"443":12',
    '[{"Port":443}]',
    '{"ports": ["443=5201"]}',
    '{"port_usages":{"443":-1}}',
    '{"port_usages":{"443":1.5}}',
    '{"port_usages":{"443":"1"}}',
    '{"port_usages":{"65536":1}}',
    '{"port_usages":{"http":1}}',
    '{"port_usages":[443]}',
    "[" * 100_000,
    "443",
    "\x00\x00\x00",
    "[server]\nbind_addr = ':3080'\n",
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_file_that_is_no_usage_log_is_set_aside(path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(content)
    path.with_name("usage.json.broken-1").write_text("an older one")
    run_once(path, (443, 1, 2))
    assert path.with_name("usage.json.broken-1").read_text() == "an older one"
    assert path.with_name("usage.json.broken-2").read_text() == content
    assert saved(path) == {443: 3}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "usage.json.broken-2" in caplog.text


def test_a_huge_file_is_set_aside_unread(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    run_once(path, (443, 1, 2))
    assert saved(path) == {443: 3}


@given(st.binary(max_size=300))
def test_any_bytes_are_usage_or_set_aside(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "usage.json"
    path.write_bytes(content)
    run_once(path, (443, 1, 2))
    assert saved(path)[443] >= 3


@given(st.dictionaries(st.integers(0, 65535), st.integers(1, 2**63)))
def test_a_written_log_is_read_again(tmp_path_factory: pytest.TempPathFactory, loads: dict[int, int]) -> None:
    path = tmp_path_factory.mktemp("any") / "usage.json"
    run_once(path, *((number, used, 0) for number, used in loads.items()))
    log = UsageLog(str(path), Tunnel().read)
    log.load()
    assert log.totals() == loads


def test_the_file_is_v072s(path: Path) -> None:
    """v0.7.2 reads a list of these two fields alone (internal/web/sniffer.go)."""
    run_once(path, (8080, 1, 2), (443, 1, 0))
    assert json.loads(path.read_bytes()) == [{"Port": 443, "Usage": 1}, {"Port": 8080, "Usage": 3}]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of another user's")
def test_a_link_of_another_user_is_not_followed(tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    victim = tmp_path / "victim.json"
    victim.write_text("[]")
    path.symlink_to(victim)
    os.chown(path, 65534, 65534, follow_symlinks=False)
    run_once(path, (443, 1, 2))
    assert victim.read_text() == "[]"
    assert path.is_symlink()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "link" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_directory_that_may_only_be_entered_is_enough() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "usage.json")
        path.write_bytes(b"[]")
        os.chown(path, 65534, 65534)
        Path(folder).chmod(0o711)
        os.seteuid(65534)
        try:
            content = files.read(path, 100)
            files.replace(path, b"[1]")
        finally:
            os.seteuid(0)
        assert content == b"[]"
        assert path.read_bytes() == b"[1]"


def test_a_circular_link_is_logged_in_one_line(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.symlink_to(path.name)
    run_once(path, (443, 1, 2))
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_mode_and_link_stay_and_no_other_file_remains(tmp_path: Path, path: Path) -> None:
    (tmp_path / "data").mkdir()
    real = tmp_path / "data" / "real.json"
    real.write_text("[]")
    real.chmod(0o640)
    path.symlink_to(real)
    run_once(path, (443, 1, 2))
    assert path.is_symlink()
    assert saved(real) == {443: 3}
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert os.listdir(real.parent) == ["real.json"]  # noqa: PTH208 - names are what counts


def test_a_file_that_cannot_be_replaced_is_written_in_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container mounts the file by itself, or another user owns the directory."""
    run_once(path, (443, 1, 2))
    inode = path.stat().st_ino

    def busy(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "rename", busy)
    run_once(path, (443, 1, 2))
    assert saved(path) == {443: 6}
    assert path.stat().st_ino == inode
    assert list(path.parent.iterdir()) == [path]


def test_a_new_file_can_be_read_by_others(path: Path) -> None:
    run_once(path, (443, 1, 2))
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return a function that fills the disk with True, and makes room again with False."""
    state = {"full": False}
    fsync = os.fsync

    def full_or_not(descriptor: int) -> None:
        if state["full"]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_or_not)
    return lambda full: state.update(full=full)


def test_a_full_disk_is_logged_once_and_loses_no_data(
    path: Path, full_disk: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    tunnel = Tunnel()
    run_once(path, (443, 1, 0))
    log = UsageLog(str(path), tunnel.read)
    log.load()
    full_disk(True)
    for received in range(10):
        set_loads(tunnel, (443, received, 0))
        log.tick()
        log.save()
    assert caplog.messages == [f"sniffer_log: can't write {path}: no space left on device"]
    assert saved(path) == {443: 1}
    assert list(path.parent.iterdir()) == [path]
    full_disk(False)
    log.save()
    assert saved(path) == {443: 10}


@pytest.mark.parametrize("name", ["missing/usage.json", "file/usage.json"])
def test_an_impossible_path_is_no_failure(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    run_once(tmp_path / name, (443, 1, 0))
    assert {record.levelname for record in caplog.records} <= {"WARNING", "ERROR"}
    assert len(caplog.records) == 1


def test_anything_but_a_file_is_never_renamed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_once(tmp_path, (443, 1, 0))
    run_once(Path("/dev/null"), (443, 1, 0))
    assert tmp_path.is_dir()
    assert Path("/dev/null").is_char_device()
    assert ["not a regular file" in message for message in caplog.messages] == [True, True]


def test_a_broken_file_that_cannot_be_renamed_is_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(_: Path) -> Path:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, "set_aside", read_only)
    path.write_text("mine")
    run_once(path, (443, 1, 2))
    assert path.read_text() == "mine"
    assert len(caplog.records) == 1


def written(path: Path) -> bool:
    return path.exists()


async def test_the_log_is_written_now_and_then(path: Path) -> None:
    tunnel = Tunnel()
    async with keeping(str(path), tunnel.read, interval=0.001):
        set_loads(tunnel, (443, 3, 0))
        await until(lambda: written(path) and saved(path) == {443: 3})


async def test_the_log_is_written_at_the_end(path: Path) -> None:
    tunnel = Tunnel()
    async with keeping(str(path), tunnel.read, interval=3600) as totals:
        set_loads(tunnel, (443, 5, 0))
        assert totals() == {443: 5}
        assert not written(path)
    assert saved(path) == {443: 5}


def test_the_log_line_names_key_and_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("{")
    with caplog.at_level(logging.WARNING, "backhaul"):
        run_once(path)
    assert caplog.messages == [
        f"sniffer_log: {path} is no usage log; it is now usage.json.broken-1, and usage counts from 0"
    ]
