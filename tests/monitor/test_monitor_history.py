"""The history of a day."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.monitor.sample import Tunnel, port
from tests.support.clock import Clock
from tests.support.net import until

from backhaul.monitor.history import MINUTE, History, keeping_history
from backhaul.monitor.history_file import MINUTES, SERIES, SIZE, HistoryFile
from backhaul.monitor.samples import Sample
from backhaul.monitor.traffic import NotSampledError

NOW = 29_000_000
NOBODY = 65534


def sample(minute: int, users: int = 0, new: int = 0, received: int = 0) -> Sample:
    return Sample(minute, users, new, 0, 0, received, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "history"


def test_a_file_holds_a_day_and_survives_a_restart(path: Path) -> None:
    file = HistoryFile(path)
    for minute in range(NOW - MINUTES - 5, NOW + 1):
        file.add({"": sample(minute, users=minute - NOW + MINUTES + 5)})
    file.close()
    again = HistoryFile(path)
    assert again.read("", NOW) == [sample(NOW - left, users=MINUTES + 5 - left) for left in reversed(range(MINUTES))]
    assert again.read("", NOW + 10)[0].minute == NOW + 11 - MINUTES
    assert again.read("443", NOW) == []
    assert (path.stat().st_size, again.renewed) == (SIZE, False)
    assert path.stat().st_blocks * 512 < SIZE / 10
    again.close()


def test_parts_of_a_minute_add_up(path: Path) -> None:
    old, new = HistoryFile(path), HistoryFile(path)
    old.add({"": sample(NOW, users=9, new=2, received=2**40)})
    new.add({"": sample(NOW, users=3, new=1, received=1), "*:443": sample(NOW)})
    assert new.read("", NOW) == [sample(NOW, users=3, new=3, received=2**40 + 1)]
    assert old.names(NOW) == ["", "*:443"]
    old.close()
    new.close()


async def test_a_file_is_closed_after_a_sample_that_is_being_added(path: Path) -> None:
    file, other = HistoryFile(path), HistoryFile(path)
    with path.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        adding = asyncio.create_task(asyncio.to_thread(file.add, {"": sample(NOW)}))
        await until(lambda: waits_for_a_lock(path))
        closing = asyncio.create_task(asyncio.to_thread(file.close))
        await asyncio.sleep(0)
    await adding
    await closing
    assert other.read("", NOW) == [sample(NOW)]
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.add({"": sample(NOW + 1)})
    other.close()


def waits_for_a_lock(path: Path) -> bool:
    """Return whether a thread waits for the lock of a file; proc_locks(5)."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and f":{path.stat().st_ino} " in line for line in lines)


def test_a_series_that_is_missing_for_longest_makes_room(path: Path) -> None:
    file = HistoryFile(path)
    names = [str(number) for number in range(SERIES)]
    file.add({name: sample(NOW, new=1) for name in names})
    file.add({name: sample(NOW + 1, new=2) for name in names[1:]})
    file.add({"new": sample(NOW + 2, new=3)} | {name: sample(NOW + 2) for name in names[2:]})
    file.add({"one too many": sample(NOW + 3)} | {name: sample(NOW + 3) for name in [*names[1:], "new"]})
    assert file.read("new", NOW + 3) == [sample(NOW + 2, new=3), sample(NOW + 3)]
    assert set(file.names(NOW + 3)) == {*names[1:], "new"}
    assert file.read(names[1], NOW + 3) == [sample(NOW, new=1), sample(NOW + 1, new=2), sample(NOW + 3)]
    file.close()


def test_a_long_name_is_cut(path: Path) -> None:
    file, name = HistoryFile(path), "ä" * 100
    file.add({name: sample(NOW)})
    file.add({name: sample(NOW + 1)})
    assert file.read(name, NOW + 1) == [sample(NOW), sample(NOW + 1)]
    assert file.names(NOW + 1) == [name[:62]]
    file.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_service_can_use_what_root_has_written(path: Path) -> None:
    path.parent.mkdir()
    os.chown(path.parent, NOBODY, NOBODY)
    HistoryFile(path).close()
    assert path.stat().st_uid == NOBODY


async def test_samples_are_differences(path: Path) -> None:
    tunnel, clock, file = Tunnel(port(443, received=100), port(80, sent=5)), Clock(), HistoryFile(path)
    clock.now = NOW * MINUTE
    history = History(file, tunnel.read, clock)
    first, other = tunnel.status.ports
    tunnel.say(ports=(replace(first, received=130, total=12, refused=1, udp_flows=4), other), waiting=7)
    clock.now += MINUTE
    await history.tick()
    tunnel.say(ports=(replace(first, received=10, total=1),))  # removed and added again by reloads
    clock.now += MINUTE
    await history.tick()
    whole = await history.status("")
    assert whole.samples == [Sample(NOW, 8, 3, 1, 7, 30, 0), Sample(NOW + 1, 2, 1, 0, 7, 10, 0)]
    assert whole.series == ["0.0.0.0:443", "0.0.0.0:80"]
    assert (await history.status("0.0.0.0:80")).samples == [Sample(NOW, 2, 0, 0, 0, 0, 0)]
    file.close()


async def test_a_port_keeps_its_series_when_its_entry_names_a_protocol(path: Path) -> None:
    tunnel, clock, file = Tunnel(port(443)), Clock(), HistoryFile(path)
    clock.now = NOW * MINUTE
    history = History(file, tunnel.read, clock)
    for protocol in ("", "tcp"):
        tunnel.say(ports=(replace(port(443), protocol=protocol),))
        clock.now += MINUTE
        await history.tick()
    status = await history.status("0.0.0.0:443")
    assert status.series == ["0.0.0.0:443"]
    assert [sample.minute for sample in status.samples] == [NOW, NOW + 1]
    file.close()


async def test_what_a_port_had_before_is_no_growth_when_a_reload_gives_it_another_name(path: Path) -> None:
    tunnel, clock, file = Tunnel(port(443, received=9)), Clock(), HistoryFile(path)
    clock.now = NOW * MINUTE
    history = History(file, tunnel.read, clock)
    streams = replace(port(443, received=10), protocol="tcp")
    datagrams = replace(port(443, received=4), protocol="udp", total=1)
    for ports in ((streams, datagrams), (replace(streams, protocol=""),)):
        tunnel.say(ports=ports)
        clock.now += MINUTE
        await history.tick()
    assert [sample.received for sample in (await history.status("")).samples] == [5, 0]
    assert [sample.new for sample in (await history.status("")).samples] == [1, 0]
    file.close()


async def test_both_ports_of_an_address_have_a_series(path: Path) -> None:
    tunnel, clock, file = (
        Tunnel(*(replace(port(443), protocol=name) for name in ("tcp", "udp"))),
        Clock(),
        HistoryFile(path),
    )
    clock.now = (NOW + 1) * MINUTE
    history = History(file, tunnel.read, clock)
    await history.tick()
    assert sorted((await history.status("")).series) == ["0.0.0.0:443/tcp", "0.0.0.0:443/udp"]
    file.close()


async def test_a_group_is_a_series_of_its_own(path: Path) -> None:
    tunnel = Tunnel(replace(port(1), group="web"), replace(port(2), group="web"), replace(port(3), client="web"))
    history = History(HistoryFile(path), tunnel.read, lambda: NOW * MINUTE)
    await history.tick()
    assert (await history.status("group web")).samples == [Sample(NOW - 1, 4, 0, 0, 0, 0, 0)]
    assert (await history.status("client web")).samples == [Sample(NOW - 1, 2, 0, 0, 0, 0, 0)]


async def test_a_client_is_a_series_of_its_own(path: Path) -> None:
    ports = [replace(port(number), client=client) for number, client in ((1, ""), (2, "berlin"), (3, "berlin"))]
    tunnel, clock, file = Tunnel(*ports), Clock(), HistoryFile(path)
    clock.now = NOW * MINUTE
    history = History(file, tunnel.read, clock)
    tunnel.say(ports=tuple(replace(one, sent=one.port) for one in ports))
    await history.tick()
    assert (await history.status("client berlin")).samples == [Sample(NOW - 1, 4, 0, 0, 0, 0, 5)]
    assert "client " not in (await history.status("")).series
    file.close()


def garbage(path: Path) -> None:
    path.write_bytes(b"something else")


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("obstacle", "text", "works"),
    [(garbage, "corrupt and replaced", True), (folder, "is a directory; the page has no history", False)],
)
async def test_a_file_that_is_of_no_use(
    path: Path, caplog: pytest.LogCaptureFixture, obstacle: Callable[[Path], None], text: str, *, works: bool
) -> None:
    path.parent.mkdir()
    obstacle(path)
    async with keeping_history(str(path), Tunnel().read) as history:
        if works:
            assert (await history("")).samples == []
        else:
            with pytest.raises(NotSampledError):
                await history("")
    assert f"{path}: {text}" in caplog.text
