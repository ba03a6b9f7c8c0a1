"""The client's memory of servers that were protected once, in a file of an administrator's machine."""

import contextlib
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backhaul.system import files
from backhaul.system.known_servers import MAX_LINES, MAX_SIZE, KnownServers

NOBODY = 65534
SERVER = "example.com:3080"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "backhaul"


@pytest.fixture
def made(folder: Path) -> Path:
    """Return the folder with a file that holds one server."""
    KnownServers(folder).remember("old.example:1")
    return folder


def lines(folder: Path) -> list[str]:
    return [line for line in (folder / "protected-servers").read_text().splitlines() if not line.startswith("#")]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    assert all("\n" not in line for line in found)
    return found


def test_a_server_is_remembered_over_restarts(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = KnownServers(folder)
    assert not known.protected(SERVER)
    assert not folder.exists()
    known.remember(SERVER)
    known.remember("[2001:db8::1]:443")
    for memory in (known, KnownServers(folder)):
        assert memory.protected(SERVER)
        assert memory.protected("EXAMPLE.com:3080")
        assert memory.protected("[2001:db8::1]:443")
        assert not memory.protected("example.com:3081")
    assert errors(caplog) == []


def test_the_file_is_private_and_says_what_it_is_for(folder: Path) -> None:
    known = KnownServers(folder)
    known.remember(SERVER)
    assert known.file == folder / "protected-servers"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in folder.iterdir())
    assert known.file.read_text().startswith("# Servers that have proved")
    assert lines(folder) == [SERVER]


def test_a_known_server_is_not_written_again(made: Path) -> None:
    known = KnownServers(made)
    before = known.file.stat()
    known.remember("old.example:1")
    assert known.file.stat() == before


def test_an_edit_counts_without_a_restart(folder: Path) -> None:
    known = KnownServers(folder)
    known.remember(SERVER)
    known.remember("other.example:1")
    known.file.write_text("# mine\nOther.example:1\n\nthird.example:2")
    assert [known.protected(one) for one in (SERVER, "other.example:1", "third.example:2")] == [False, True, True]
    known.remember(SERVER)
    assert known.file.read_text() == f"# mine\nOther.example:1\n\nthird.example:2\n{SERVER}\n"
    known.file.unlink()
    assert not known.protected(SERVER)


def test_processes_share_the_file(folder: Path) -> None:
    one, other = KnownServers(folder), KnownServers(folder)
    one.remember("a.example:1")
    other.remember("b.example:2")
    one.remember("c.example:3")
    assert lines(folder) == ["a.example:1", "b.example:2", "c.example:3"]
    assert all(memory.protected(server) for memory in (one, other) for server in lines(folder))


def test_processes_that_write_at_once_lose_nothing(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from backhaul.system.known_servers import KnownServers\n"
        "known = KnownServers(Path(sys.argv[1])); input()\n"
        "for number in range(20): known.remember(f'{sys.argv[2]}:{number}')"
    )
    names = ["a", "b", "c"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([sys.executable, "-c", script, folder, name], stdin=subprocess.PIPE, env=environment)
        for name in names
    ]
    for process in running:
        process.communicate(b"\n")
    assert sorted(lines(folder)) == sorted(f"{name}:{number}" for name in names for number in range(20))


def link(file: Path) -> None:
    file.rename(file.with_suffix(".real"))
    file.symlink_to(file.with_suffix(".real"))


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def many_lines(file: Path) -> None:
    file.write_text("a:1\n" * (MAX_LINES + 1))


def many_bytes(file: Path) -> None:
    file.write_text("#" * (MAX_SIZE + 1))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (link, "not a plain file"),
        (directory, "not a plain file"),
        (pipe, "not a plain file"),
        (many_lines, "more than 10000 lines or 1048576 bytes"),
        (many_bytes, "more than 10000 lines or 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    spoil: Callable[[Path], None], reason: str, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it held is kept by a running client, and new servers are remembered without it."""
    known = KnownServers(made)
    assert known.protected("old.example:1")
    spoil(known.file)
    for _ in range(2):
        assert known.protected("old.example:1")
        assert not known.remember(SERVER)
        assert known.protected(SERVER)
    read, written = errors(caplog)
    assert read.startswith(f"{known.file}: cannot be read: {reason}; correct that, or remove it")
    assert written.startswith(f"{known.file}: cannot be written: {reason}; {SERVER} is remembered until this program")
    assert written.endswith("set STATE_DIRECTORY to another directory")


@pytest.mark.parametrize("spoil", [many_lines, lambda file: file.write_text("https://b.example\n")])
def test_all_clients_of_a_process_report_a_problem_once(
    spoil: Callable[[Path], None], made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for reports in (1, 2):
        spoil(made / "protected-servers")
        for known in (KnownServers(made), KnownServers(made)):
            known.protected(SERVER)
        assert len(errors(caplog)) == reports
        (made / "protected-servers").unlink()
        assert not known.protected(SERVER)


def test_all_servers_may_be_in_a_file_that_cannot_be_read(made: Path) -> None:
    known = KnownServers(made)
    many_lines(known.file)
    assert known.protected(SERVER)
    assert known.protected(SERVER)
    known.file.unlink()
    assert not known.protected(SERVER)


def test_a_file_that_is_mended_is_used_again(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = KnownServers(made)
    many_lines(known.file)
    known.remember(SERVER)
    known.file.write_text("a:1\n")
    assert known.protected("a:1")
    known.remember(SERVER)
    assert lines(made) == ["a:1", SERVER]
    assert len(errors(caplog)) == 2


def test_a_full_file_is_left_alone(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = KnownServers(made)
    known.file.write_text("a:1\n" * MAX_LINES)
    known.remember(SERVER)
    assert known.protected(SERVER)
    assert known.file.read_text() == "a:1\n" * MAX_LINES
    [error] = errors(caplog)
    assert "cannot be written: more than 10000 lines" in error


def test_garbage_is_reported_once_and_the_rest_counts(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = KnownServers(made)
    known.file.write_bytes(b"a.example:1\n\xff\x00\nhttps://b.example\nc.example:2\n")
    assert [known.protected(one) for one in ("a.example:1", "c.example:2", "b.example:1")] == [True, True, False]
    [error] = errors(caplog)
    problem = "2 lines, the first is line 2, are neither host:port nor a service; correct or remove them"
    assert error == f"{known.file}: {problem}"
    known.remember(SERVER)
    assert known.file.read_bytes().endswith(f"b\nc.example:2\n{SERVER}\n".encode()[1:])


def test_a_folder_that_is_a_file_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "file"
    file.touch()
    known = KnownServers(file)
    known.remember(SERVER)
    assert known.protected(SERVER)
    [error] = errors(caplog)
    assert error.startswith(
        f"{file}/protected-servers: cannot be written: Not a directory; {SERVER} is remembered until"
    )


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_disk_that_takes_nothing_is_named(
    number: int, made: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path, _content: bytes) -> None:
        raise OSError(number, os.strerror(number))

    known = KnownServers(made)
    monkeypatch.setattr(files, "replace", fail)
    for _ in range(2):
        known.remember(SERVER)
        assert known.protected(SERVER)
    [error] = errors(caplog)
    assert f"cannot be written: {os.strerror(number)}; " in error
    monkeypatch.undo()
    known.remember(SERVER)
    assert lines(made) == ["old.example:1", SERVER]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_of_another_user_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    KnownServers(tmp_path).remember("old.example:1")
    with another_user(tmp_path):
        known = KnownServers(tmp_path)
        assert known.protected("old.example:1")
        assert known.protected(SERVER)
        known.remember(SERVER)
    read, written = errors(caplog)
    assert "cannot be read: Permission denied; correct that" in read
    assert "cannot be written: Permission denied" in written


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_service_can_use_what_root_has_written(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    KnownServers(tmp_path).remember("old.example:1")
    with another_user(tmp_path):
        known = KnownServers(tmp_path)
        assert known.protected("old.example:1")
        known.remember(SERVER)
    assert lines(tmp_path) == ["old.example:1", SERVER]


@contextlib.contextmanager
def another_user(folder: Path) -> Iterator[None]:
    """Run as a user without rights who may reach ``folder``."""
    for parent in (folder, *folder.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace(tmp_path / "x", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
