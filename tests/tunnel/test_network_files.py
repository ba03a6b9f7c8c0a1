"""Files with networks, which change while they are in use."""

import logging
import threading
from pathlib import Path

import pytest
from tests.support.net import PATIENCE, until

from backhaul.errors import BackhaulError
from backhaul.networks import Networks, read_networks
from backhaul.tunnel.network_files import NetworkFiles

OFTEN = 0.001


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "allowed"
    write(path, 1)
    return path


def write(path: Path, networks: int) -> None:
    """Write some networks into a file."""
    path.write_text("".join(f"198.51.100.{number}\n" for number in range(networks)))


async def read(files: NetworkFiles, path: Path, networks: int) -> None:
    """Wait until some networks have been read."""
    await until(lambda: files[str(path)].size == networks)


async def looks(files: NetworkFiles, other: Path) -> None:
    """Wait until the files have been looked at twice, of which ``other`` is the last."""
    for size in (1, 2):
        write(other, size)
        await read(files, other, size)


async def test_a_change_is_read_and_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    other = path.with_name("other")
    other.touch()
    files = NetworkFiles(OFTEN)
    await files.learn({"allow_file": str(path), "deny_file": str(other)})
    await looks(files, other)
    write(path, 2)
    await read(files, path, 2)
    await looks(files, other)
    assert [line for line in caplog.messages if str(path) in line] == [f"allow_file: {path}: read again, 2 networks"]
    files.close()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("x\n")])
async def test_an_unusable_file_is_told_once(path: Path, damage: object, caplog: pytest.LogCaptureFixture) -> None:
    other = path.with_name("other")
    other.touch()
    files = NetworkFiles(OFTEN)
    await files.learn({"allow_file": str(path), "deny_file": str(other)})
    assert callable(damage)
    damage(path)
    await until(lambda: caplog.messages)
    await looks(files, other)
    (line,) = caplog.messages
    assert line.startswith(f"allow_file: {path}: ")
    assert line.endswith("; the list in force stays")
    assert files[str(path)].size == 1
    files.close()


async def test_a_lack_of_memory_ends_no_watch(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_name: str) -> Networks:
        raise MemoryError

    files = NetworkFiles(OFTEN)
    await files.learn({"allow_file": str(path)})
    with monkeypatch.context() as little:
        little.setattr("backhaul.tunnel.network_files.read_networks", fail)
        with pytest.raises(BackhaulError, match=f"deny_file: {path}: out of memory"):
            await files.learn({"deny_file": str(path)})
        write(path, 2)
        await until(lambda: caplog.messages)
    await read(files, path, 2)
    assert caplog.messages == [f"allow_file: {path}: out of memory; the list in force stays"]
    files.close()


async def test_a_file_that_returns_is_watched_again(path: Path) -> None:
    files = NetworkFiles(OFTEN)
    for named in ({"allow_file": str(path)}, {}, {"allow_file": str(path)}):
        await files.learn(named)
    write(path, 2)
    await read(files, path, 2)
    files.close()


async def test_a_file_that_is_not_named_is_not_read(path: Path) -> None:
    files = NetworkFiles(OFTEN)
    await files.learn({"allow_file": str(path)})
    with pytest.raises(BackhaulError, match="deny_file: /nowhere: no such file"):
        await files.learn({"deny_file": "/nowhere"})
    assert files[str(path)].size == 1
    await files.learn({})
    assert files[str(path)].size == 0
    files.close()


async def test_a_late_look_does_not_undo_a_reload(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, first, release = path.with_name("other"), threading.Event(), threading.Event()
    other.touch()
    files = NetworkFiles(OFTEN)
    named = {"allow_file": str(path), "deny_file": str(other)}
    await files.learn(named)

    def read_late(name: str) -> Networks:
        found = read_networks(name)
        if name == str(path) and not first.is_set():
            first.set()
            release.wait(PATIENCE)
        return found

    monkeypatch.setattr("backhaul.tunnel.network_files.read_networks", read_late)
    write(path, 2)
    await until(first.is_set)
    write(path, 3)
    await files.learn(named)
    release.set()
    await looks(files, other)
    assert files[str(path)].size == 3
    files.close()
