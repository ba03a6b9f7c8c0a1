"""The access log: its lines, its places, and a disk that is full or slow."""

import asyncio
import json
import logging
import os
import resource
import socket
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.net import until

from backhaul.reports import UserEnd
from backhaul.system.access_lines import lines, stamp
from backhaul.system.access_log import AccessLog
from backhaul.system.access_sinks import FileSink, JournalSink, make_sink

TIME = "2026-11-26T09:59:03.773Z"
END = UserEnd(TIME, 7, "tcp", "192.0.2.1", 5000, "*:443", "198.51.100.2", "127.0.0.1:80", 17, 2048, 0.25, "user")


class Sink:
    """A sink that the test opens and breaks."""

    name = "/log/access.log"

    def __init__(self) -> None:
        self.open = threading.Event()
        self.error: Exception | None = None
        self.writes: list[bytes] = []
        self.failed = 0
        self.reopened = 0
        self.closed = 0

    @property
    def lines(self) -> list[bytes]:
        return b"".join(self.writes).split()

    def write(self, lines: bytes) -> None:
        self.open.wait()
        if error := self.error:
            self.failed += 1
            raise error
        self.writes.append(lines)

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None:
        self.closed += 1


def numbers(users: list[UserEnd]) -> bytes:
    return b"".join(b"%d\n" % user.id for user in users)


def users(*numbers: int) -> list[UserEnd]:
    return [replace(END, id=number) for number in numbers]


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = Sink()
    yield sink
    sink.open.set()


def started(sink: Sink) -> AccessLog:
    return AccessLog(sink, numbers, interval=0)


def test_lines_in_json() -> None:
    first, second = lines("json")([END, replace(END, id=8)]).splitlines()
    assert json.loads(second)["id"] == 8
    assert json.loads(first) == {
        "time": "2026-11-26T09:59:03.773Z",
        "id": 7,
        "protocol": "tcp",
        "user": "192.0.2.1",
        "user_port": 5000,
        "port": "*:443",
        "client": "198.51.100.2",
        "target": "127.0.0.1:80",
        "received": 17,
        "sent": 2048,
        "seconds": 0.25,
        "ending": "user",
    }


def test_a_line_of_text_has_a_word_for_each_field() -> None:
    other = replace(END, target="unix:/a b\n", user="2001:db8::1", client="")
    assert lines("text")([END, other]).decode() == (
        f"{TIME} 7 tcp 192.0.2.1 5000 *:443 198.51.100.2 127.0.0.1:80 17 2048 0.25 user\n"
        f"{TIME} 7 tcp 2001:db8::1 5000 *:443 - unix:/a\\x20b\\n 17 2048 0.25 user\n"
    )


def test_the_time_of_a_line() -> None:
    write = stamp()
    assert write(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert write(1_700_000_000.5) == "2023-11-14T22:13:20.500Z"
    assert write(1_700_000_001.0) == "2023-11-14T22:13:21.000Z"
    assert write(1_699_999_999.5) == "2023-11-14T22:13:19.500Z"  # the clock was set


async def test_lines_are_written_in_order_and_the_last_ones_at_the_end(sink: Sink) -> None:
    sink.open.set()
    log = started(sink)
    log.write(END)
    await until(lambda: sink.lines)
    log.write(replace(END, id=8))
    await log.close()
    assert (sink.lines, sink.closed) == ([b"7", b"8"], 1)


async def test_the_lines_of_an_interval_are_written_at_once(sink: Sink) -> None:
    """A write for each would keep the processor busy, and the event loop waiting."""
    sink.open.set()
    log = AccessLog(sink, numbers, interval=60, batch=2)
    for user in users(1, 2, 3, 4, 5):
        log.write(user)
    await log.close()
    assert sink.writes == [b"1\n2\n3\n4\n5\n"]


async def test_each_line_has_the_time_of_its_user(sink: Sink) -> None:
    loop, ends = asyncio.get_running_loop(), users(1, 2)
    log = AccessLog(sink, numbers, interval=60)
    before = datetime.now(UTC)
    log.write(ends[0])
    moment = loop.time()
    await until(lambda: loop.time() - moment > 0.002)
    log.write(ends[1])
    sink.open.set()
    await log.close()
    first, second = (datetime.fromisoformat(end.time) for end in ends)
    assert before - timedelta(milliseconds=1) <= first < second <= datetime.now(UTC)


async def test_a_disk_that_is_slow_costs_lines_and_no_time(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(sink, numbers, most_waiting=4, interval=0, batch=2)
    for user in users(*range(10)):
        log.write(user)
    assert caplog.messages == ["access_log: 4 lines wait for a write; further ones are dropped"]
    sink.open.set()
    await until(lambda: "were dropped" in caplog.text)
    await log.close()
    assert sink.lines == [b"0", b"1", b"2", b"3"]
    assert "6 lines were dropped" in caplog.text


async def test_a_full_disk_is_one_warning_until_it_has_room(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    sink.open.set()
    sink.error = OSError(28, "No space left on device")
    log = started(sink)
    log.write(replace(END, id=1))
    await until(lambda: sink.failed == 1)
    log.write(replace(END, id=2))
    await until(lambda: sink.failed == 2)
    sink.error = None
    log.write(END)
    await until(lambda: "writable again" in caplog.text)
    await log.close()
    assert [record.getMessage() for record in caplog.records] == [
        "access_log: can't write to /log/access.log: no space left on device; lines are lost until that works",
        "access_log: writable again; at most 2 lines were lost",
    ]
    assert sink.lines == [b"7"]


async def test_reopen(sink: Sink) -> None:
    sink.open.set()
    log = started(sink)
    log.reopen()
    await until(lambda: sink.reopened)
    await log.close()


async def test_the_log_goes_on_after_a_lack_of_memory(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    sink.open.set()
    sink.error = MemoryError()
    log = started(sink)
    log.write(END)
    await until(lambda: "cannot allocate memory; lines are lost" in caplog.text)
    sink.error = None
    log.write(replace(END, id=8))
    await until(lambda: sink.lines == [b"8"])
    await log.close()


async def test_a_reader_that_has_stopped_delays_the_end_of_the_program_little(sink: Sink) -> None:
    log = AccessLog(sink, numbers, interval=0, last_write=0.01)
    log.write(END)
    await log.close()
    assert not sink.lines


class TestFile:
    def test_lines_are_appended(self, tmp_path: Path) -> None:
        file = tmp_path / "log"
        file.write_bytes(b"old\n")
        sink = make_sink(str(file), 1)
        sink.write(b"one\ntwo\n")
        sink.close()
        assert file.read_bytes() == b"old\none\ntwo\n"

    def test_a_new_file_is_closed_to_others(self, tmp_path: Path) -> None:
        sink = FileSink(str(tmp_path / "log"), 0)
        sink.write(b"x\n")
        sink.close()
        assert (tmp_path / "log").stat().st_mode & 0o027 == 0

    def test_a_file_whose_close_fails_is_reopened(self, tmp_path: Path) -> None:
        """On NFS close(2) may report an error of an earlier write."""
        path = tmp_path / "log"
        sink = FileSink(str(path), 0)
        sink.write(b"one\n")
        (file,) = (int(each.name) for each in Path("/proc/self/fd").iterdir() if os.path.realpath(each) == str(path))
        os.close(file)
        sink.reopen()
        sink.write(b"two\n")
        sink.close()
        assert path.read_bytes() == b"one\ntwo\n"

    def test_a_large_file_is_renamed_and_few_are_kept(self, tmp_path: Path) -> None:
        sink = FileSink(str(tmp_path / "log"), limit=10, kept=2)
        for number in range(5):
            sink.write(b"line %d\n" % number)
        sink.close()
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
            "log": b"line 4\n",
            "log.1": b"line 3\n",
            "log.2": b"line 2\n",
        }

    def test_without_a_limit_it_is_never_renamed(self, tmp_path: Path) -> None:
        sink = FileSink(str(tmp_path / "log"), 0)
        for _ in range(3):
            sink.write(b"x" * 100)
        sink.close()
        assert [file.name for file in tmp_path.iterdir()] == ["log"]

    def test_a_file_is_filled_and_a_long_line_has_one_of_its_own(self, tmp_path: Path) -> None:
        sink = FileSink(str(tmp_path / "log"), limit=14)
        for line in (b"line 1\n", b"line 2\n", b"a line of more than a file\n", b"line 3\n"):
            sink.write(line)
        sink.close()
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
            "log": b"line 3\n",
            "log.1": b"a line of more than a file\n",
            "log.2": b"line 1\nline 2\n",
        }

    def test_the_limit_is_given_in_megabytes(self, tmp_path: Path) -> None:
        file = tmp_path / "log"
        file.touch()
        os.truncate(file, (1 << 20) - 4)
        sink = make_sink(str(file), 1)
        sink.write(b"one\n")
        assert not (tmp_path / "log.1").exists()
        sink.write(b"two\n")
        sink.close()
        assert (tmp_path / "log.1").stat().st_size == 1 << 20

    def test_one_descriptor_is_open_at_most(self, tmp_path: Path) -> None:
        sink = FileSink(str(tmp_path / "log"), limit=10)
        for again in (repr, FileSink.reopen, lambda _: (tmp_path / "log").unlink(), repr):
            again(sink)
            sink.write(b"a line\n")
            assert len(opened(tmp_path)) == 1
        sink.close()
        sink.close()
        assert opened(tmp_path) == []

    @pytest.mark.parametrize("again", [FileSink.reopen, repr])
    def test_a_file_that_another_program_has_renamed(self, again: Callable[[FileSink], object], tmp_path: Path) -> None:
        file = tmp_path / "log"
        sink = FileSink(str(file), 0)
        sink.write(b"one\n")
        file.rename(tmp_path / "old")
        again(sink)
        sink.write(b"two\n")
        sink.close()
        assert (file.read_bytes(), (tmp_path / "old").read_bytes()) == (b"two\n", b"one\n")

    def test_a_torn_line_is_ended(self, tmp_path: Path) -> None:
        file = tmp_path / "log"
        sink = FileSink(str(file), 0)
        with limited(10), pytest.raises(OSError, match="too large"):
            sink.write(b"one\ntwotwotwo\n")
        sink.write(b"three\n")
        sink.close()
        assert file.read_bytes() == b"one\ntwotwo\nthree\n"

    def test_a_new_file_begins_with_a_line(self, tmp_path: Path) -> None:
        file = tmp_path / "log"
        sink = FileSink(str(file), 0)
        with limited(2), pytest.raises(OSError, match="too large"):
            sink.write(b"one\n")
        file.unlink()
        sink.write(b"two\n")
        sink.close()
        assert file.read_bytes() == b"two\n"

    def test_a_pipe_without_a_reader_is_not_waited_for_and_one_with_a_reader_is(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "log")
        sink = FileSink(str(tmp_path / "log"), 100)
        with pytest.raises(OSError, match="No such device or address"):
            sink.write(b"one\n")
        reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        many = b"line\n" * 100_000  # more than a pipe takes at once
        writing = threading.Thread(target=sink.write, args=(many,))
        writing.start()
        read = b""
        while len(read) < len(many):
            read += os.read(reader, 1 << 16)
        assert read == many
        writing.join()
        sink.close()
        os.close(reader)


def opened(folder: Path) -> list[str]:
    """Return the files of a folder that this process has open."""
    names = (os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir())
    return [name for name in names if name.startswith(f"{folder}/")]


class limited:  # noqa: N801 - a context
    """Let files grow to this size only, as a full disk does."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._size, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


async def test_a_missing_journal_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(JournalSink(str(tmp_path / "journal")), numbers, interval=0)
    log.write(END)
    await until(lambda: caplog.messages)
    await log.close()
    why = "no such file or directory; lines are lost until that works"
    assert caplog.messages == [f"access_log: can't write to the journal of systemd: {why}"]


def test_each_line_is_an_entry_of_the_journal(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        sink = JournalSink(str(tmp_path / "journal"))
        sink.write(b"one\ntwo\n")
        assert journal.recv(1000) == b"PRIORITY=6\nSYSLOG_IDENTIFIER=backhaul-access\nMESSAGE=one\n"
        assert journal.recv(1000).endswith(b"MESSAGE=two\n")
        sink.close()


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    make_sink("stdout", 0).write(b"one\n")
    assert capfd.readouterr().out == "one\n"
