"""The status socket of a running program."""

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.documents import documents
from tests.support.net import until

from backhaul.system.calls import ask
from backhaul.system.status_socket import serving, socket_name, socket_path, sockets, stopping, take_turn

pytestmark = pytest.mark.both_loops


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backhaul" / "x.sock"


async def answer(path: Path) -> object:
    return json.loads(await asyncio.to_thread(ask, path))


def there(path: Path) -> bool:
    return path.exists()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_to_all(folder: str) -> None:
    Path(folder).chmod(0o755)


async def test_each_connection_gets_a_fresh_document(path: Path) -> None:
    counts = iter(range(9))
    async with serving(path, documents(lambda: {"count": next(counts)})):
        assert [await answer(path) for _ in range(3)] == [{"count": 0}, {"count": 1}, {"count": 2}]
    assert not there(path)


async def test_a_long_document_arrives_whole(path: Path) -> None:
    document = ["x" * 1000] * 5000
    async with serving(path, documents(lambda: document)):
        assert await answer(path) == document


async def test_only_its_owner_may_connect(path: Path) -> None:
    async with serving(path, documents(dict)):
        assert mode(path) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
async def test_another_user_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        open_to_all(folder)
        path = Path(folder, "x.sock")
        async with serving(path, documents(dict)):
            script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
            command = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", script]
            run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert "PermissionError" in run.stderr


async def test_a_connection_that_never_reads_delays_nothing(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        async with serving(path, documents(lambda: "x" * 10_000_000)):
            silent.connect(str(path))
            assert len(str(await answer(path))) == 10_000_000
        silent.settimeout(10)
        received = await asyncio.to_thread(lambda: b"".join(iter(lambda: silent.recv(1 << 20), b"")))
        assert len(received) < 10_000_000


async def test_the_socket_of_a_killed_program_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ConnectionRefusedError):
        ask(path)
    async with serving(path, documents(lambda: "alive")):
        assert await answer(path) == "alive"


@pytest.mark.parametrize("backlog", [0, 8])
async def test_the_socket_of_a_running_program_stays(
    path: Path, backlog: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as waiting:
        living.bind(str(path))
        living.listen(backlog)
        waiting.connect(str(path))  # fills the shorter backlog
        async with serving(path, documents(dict)):
            pass
        assert there(path)
    assert f"status socket {path}: not available: address already in use; `backhaul status`" in caplog.text
    assert "another process runs the same file" in caplog.text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.parent.touch(),
        lambda path: path.mkdir(parents=True),
        lambda path: path.parent.symlink_to("nowhere/at/all"),
    ],
)
async def test_the_program_runs_without_a_socket(
    spoil: Callable[[Path], None], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spoil(path)
    async with serving(path, documents(dict)):
        pass
    assert [record.levelname for record in caplog.records if "status socket" in record.message] == ["WARNING"]


class _Shut:
    """An HTTP server that can't listen."""

    async def serve(self, sock: socket.socket) -> None:
        sock.close()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def stop(self) -> None:
        """Do nothing."""


async def test_the_program_runs_without_descriptors_for_a_socket(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(path, _Shut()):
        pass
    assert not there(path)
    assert "too many open files; `backhaul status`, `reload` and others do not reach this program: raise" in caplog.text


async def test_a_path_too_long_for_a_socket_is_no_failure(tmp_path: Path) -> None:
    async with serving(tmp_path / ("x" * 120), documents(dict)):
        pass


async def test_a_program_without_a_directory_makes_no_socket(caplog: pytest.LogCaptureFixture) -> None:
    """Its administrator learns why `backhaul status` does not find it."""
    caplog.set_level(logging.INFO)
    async with serving(None, documents(dict)):
        pass
    assert "no status socket: RUNTIME_DIRECTORY and XDG_RUNTIME_DIR are not set" in caplog.text


def test_the_name_depends_on_the_file_and_not_on_its_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert socket_name("config.toml") == socket_name(tmp_path / "config.toml") == socket_name("x/../config.toml")
    assert socket_name("config.toml").startswith("config-")
    assert socket_name("config.toml") != socket_name("elsewhere/config.toml")
    long = socket_name("/" + "ü /" * 9 + "n" * 200)
    assert long.isascii()
    assert " " not in long
    assert len(long) < 60


def test_the_name_stays_when_a_link_leads_elsewhere(tmp_path: Path) -> None:
    link = tmp_path / "config.toml"
    link.symlink_to("one.toml")
    before = socket_name(link)
    link.unlink()
    link.symlink_to("two.toml")
    assert socket_name(link) == before


def test_the_directory_of_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert socket_path("a") is None
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert socket_path("a") == Path("/run/user/1000/backhaul") / socket_name("a")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert socket_path("a") == Path("/run/backhaul") / socket_name("a")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/backhaul/name:/run/other")
    assert socket_path("a") == Path("/run/backhaul/name") / socket_name("a")


def test_sockets_are_found_in_every_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "backhaul/a.sock",
        "backhaul/service/b.sock",
        "user/7/backhaul/c.sock",
        "own/d.sock",
        "mine/backhaul/e.sock",
    ]
    for name in [*names, "backhaul/other", "f.sock"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "mine"))
    assert sockets(tmp_path) == sorted(tmp_path / name for name in names)


async def test_a_stopping_program_learns_that_its_socket_is_replaced(path: Path) -> None:
    newer = {"config": str(path.parent / "x.toml"), "name": "newer"}
    path = path.with_name(socket_name(newer["config"]))
    async with serving(path, documents(lambda: {"stopping": True, "name": "older"})) as replaced:
        turn = await asyncio.to_thread(take_turn, path)
        assert turn
        assert not replaced()
        async with serving(path, documents(lambda: newer), turn) as again:
            await until(replaced)
            assert not again()
            assert await answer(path) == newer
            assert not await asyncio.to_thread(take_turn, path)
        assert not there(path)
        assert not replaced()  # the successor has ended


async def test_one_program_at_a_time_follows_another(path: Path) -> None:
    async with serving(path, documents(lambda: {"stopping": True})):
        turn = await asyncio.to_thread(take_turn, path)
        assert turn
        with turn, pytest.raises(FileExistsError, match="another process is already taking over"):
            await asyncio.to_thread(take_turn, path)
        again = await asyncio.to_thread(take_turn, path)  # replaces the socket of a killed successor
        assert again
        again.close()


async def test_a_program_that_ends_at_that_moment_is_not_followed(path: Path) -> None:
    answers = iter([{"stopping": True}, {}])
    async with serving(path, documents(lambda: next(answers))):
        assert await asyncio.to_thread(take_turn, path) is None
        assert list(path.parent.iterdir()) == [path]


class _Single(socket.socket):
    """A socket of a process that can open no further one."""

    def dup(self) -> "_Single":
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_no_one_waits_in_a_socket_that_is_not_served(path: Path) -> None:
    path.parent.mkdir()
    server, sock = documents(dict), _Single(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    with pytest.raises(OSError, match="Too many open files"):
        await server.serve(sock)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_unix_connection(path)
    await server.stop()


@pytest.mark.parametrize("document", [{"config": "another.toml"}, {}, {"stopping": True}])
async def test_only_a_program_of_the_same_file_is_a_successor(path: Path, document: dict[str, object]) -> None:
    """A file or a foreign socket may lie on the path."""
    async with serving(path, documents(lambda: {"stopping": True})) as replaced:
        (path.parent / "file").touch()
        (path.parent / "file").replace(path)
        asked = []

        def answered() -> object:
            asked.append(document)
            return document

        assert not replaced()
        async with serving(path.with_name("other"), documents(answered)):
            path.with_name("other").replace(path)
            await until(lambda: replaced() or len(asked) >= 2)
            assert not replaced()


async def test_a_program_that_ends_leaves_the_socket_of_its_successor(path: Path) -> None:
    async with contextlib.AsyncExitStack() as newer:
        async with serving(path, documents(lambda: {"stopping": True})):
            turn = await asyncio.to_thread(take_turn, path)
            await newer.enter_async_context(serving(path, documents(lambda: "newer"), turn))
        assert await answer(path) == "newer"


def test_an_absent_program_is_not_stopping(path: Path) -> None:
    assert not stopping(None)
    assert not stopping(path)
