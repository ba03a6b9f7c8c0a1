"""Listening Unix sockets: replacement, and the mode and removal of their files."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backhaul.net.listeners import Listeners, WithheldListeners
from backhaul.net.sockets import SocketOptions
from backhaul.net.unix_sockets import NOWHERE, listen_at
from backhaul.wire.targets import MAX_PATH

OPTIONS = SocketOptions(nodelay=True, keepalive=15, mss=1000, rcvbuf=1 << 16, sndbuf=1 << 16)


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unix") / "app.sock"


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def dial(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def stale(path: Path) -> None:
    """Leave a socket without a listener."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@contextlib.contextmanager
def other_program(path: Path) -> Iterator[None]:
    """Have another process listen."""
    code = f"import socket as s; u = s.socket(s.AF_UNIX); u.bind({str(path)!r}); u.listen(); print(flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield
        process.kill()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_user_and_group_may_connect(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with listen_at(str(path)):
            assert path.stat().st_mode & 0o7777 == 0o660
    finally:
        os.umask(before)


def test_no_mode_is_set_by_name(path: Path) -> None:
    """The owner of the directory could put a link to a file of another user there at that moment."""
    program = (
        "import sys; from backhaul.net.unix_sockets import listen_at\n"
        "sys.addaudithook(lambda event, args: print(args[0]) if event == 'os.chmod' else None)\n"
        f"listen_at({str(path)!r}).close()"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip().isdigit()  # a descriptor


def test_a_connection_ignores_tcp_options(path: Path) -> None:
    with listen_at(str(path)) as listener, dial(path):
        OPTIONS.renew(listener)
        sock, address = listener.accept()
        with sock:
            OPTIONS.apply(sock)
            assert address == sock.getpeername() == NOWHERE
            assert sock.getsockname() == (str(path), 0)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 3) == bytes(3)


def test_the_file_is_removed_with_the_socket(path: Path) -> None:
    listen_at(str(path)).close()
    assert not path.exists()


def test_the_socket_of_a_killed_program_is_replaced(path: Path) -> None:
    stale(path)
    with listen_at(str(path)), dial(path):
        pass


def test_the_longest_path_can_be_replaced(path: Path) -> None:
    room = MAX_PATH - len(bytes(path.parent)) - 1
    path = path.with_name("é" * (room // 2) + "x" * (room % 2))
    with listen_at(str(path)) as older, listen_at(str(path), replacing=os.getpid()):
        older.close()
        assert path.is_socket()


@pytest.mark.parametrize("backlog", [8, 0])
def test_a_socket_with_a_listener_stays(path: Path, opened: contextlib.ExitStack, backlog: int) -> None:
    other = opened.enter_context(socket.socket(socket.AF_UNIX))
    other.bind(str(path))
    other.listen(backlog)
    if not backlog:
        opened.enter_context(dial(path))  # its queue is full now
    with pytest.raises(OSError, match="another program listens on it"):
        listen_at(str(path))
    assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_a_file_that_is_no_socket_stays(path: Path, kind: str) -> None:
    if kind == "link":
        stale(path.with_name("other"))
        path.symlink_to(path.with_name("other"))
    elif kind == "file":
        path.write_text("precious")
    else:
        path.mkdir()
    with pytest.raises(OSError, match="the file is no socket"):
        listen_at(str(path))
    assert path.exists()


def test_a_missing_directory(path: Path) -> None:
    with pytest.raises(OSError, match=f"no directory {path.parent}/none; make it"):
        listen_at(str(path.parent / "none" / "app.sock"))


@pytest.fixture
def as_another_user() -> Iterator[None]:
    """Act as another user of this machine, because root may write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_directory_without_permission(path: Path, request: pytest.FixtureRequest) -> None:
    path.parent.chmod(0o555)
    path.parent.parent.chmod(0o755)
    request.getfixturevalue("as_another_user")
    with pytest.raises(OSError, match=f"directory {path.parent} is not writable; correct its permissions"):
        listen_at(str(path))


def test_the_previous_process_is_replaced_in_one_step(path: Path, opened: contextlib.ExitStack) -> None:
    older = opened.enter_context(listen_at(str(path)))
    opened.enter_context(dial(path))
    newer = opened.enter_context(listen_at(str(path), replacing=os.getpid()))
    opened.enter_context(dial(path))
    for listener in (newer, older):
        opened.enter_context(listener.accept()[0])
    older.close()  # another socket owns its file by now
    opened.enter_context(dial(path))
    assert [entry.name for entry in path.parent.iterdir()] == ["app.sock"]
    newer.close()
    assert not path.exists()


def test_the_socket_of_the_tunnel_is_never_replaced(path: Path) -> None:
    listeners = Listeners(shared=True, predecessor=os.getpid())
    with contextlib.closing(listeners), listen_at(str(path)):
        with pytest.raises(OSError, match="another program listens on it"):
            WithheldListeners(listeners).streams(str(path), 0, OPTIONS)
        with listeners.streams(str(path), 0, OPTIONS):
            pass


class Kept:
    """A service manager's store."""

    def __init__(self) -> None:
        self.copies: dict[str, socket.socket] = {}

    def keep(self, name: str, sock: socket.socket) -> bool:
        if name in self.copies:
            self.copies[name].close()
        self.copies[name] = sock.dup()
        return True

    def drop(self, name: str) -> None:
        self.copies.pop(name).close()


@pytest.fixture
def depot() -> Iterator[Kept]:
    kept = Kept()
    yield kept
    for sock in kept.copies.values():
        sock.close()


class TestOverARestart:
    """The service manager keeps the socket, and so the file stays."""

    def test_users_wait(self, path: Path, depot: Kept, opened: contextlib.ExitStack) -> None:
        older = Listeners(depot=depot)
        older.streams(str(path), 0, OPTIONS).close()
        older.close()
        opened.enter_context(dial(path))
        newer = Listeners([(name, sock.dup()) for name, sock in depot.copies.items()], depot=depot)
        listener = newer.streams(str(path), 0, OPTIONS)
        newer.settle()
        opened.enter_context(listener.accept()[0])
        listener.close()
        newer.settle()  # after a reload it is unused
        assert not path.exists()
        assert not depot.copies
        newer.close()

    def test_its_directory_is_gone(self, path: Path, depot: Kept, opened: contextlib.ExitStack) -> None:
        older = Listeners(depot=depot)
        older.streams(str(path), 0, OPTIONS).close()
        older.close()
        path.unlink()
        newer = Listeners([(name, sock.dup()) for name, sock in depot.copies.items()], depot=depot)
        opened.enter_context(newer.streams(str(path), 0, OPTIONS))
        opened.enter_context(dial(path))
        newer.close()

    def test_another_program_has_taken_its_place(self, path: Path, depot: Kept, opened: contextlib.ExitStack) -> None:
        older = Listeners(depot=depot)
        older.streams(str(path), 0, OPTIONS).close()
        older.close()
        path.unlink()
        opened.enter_context(other_program(path))
        newer = Listeners([(name, sock.dup()) for name, sock in depot.copies.items()], depot=depot)
        with pytest.raises(OSError, match="another program listens on it"):
            newer.streams(str(path), 0, OPTIONS)
        newer.settle()
        newer.close()
        opened.enter_context(dial(path))

    def test_a_file_in_its_place_stays(self, path: Path, depot: Kept) -> None:
        older = Listeners(depot=depot)
        older.streams(str(path), 0, OPTIONS).close()
        older.close()
        path.unlink()
        path.write_text("precious")
        newer = Listeners([(name, sock.dup()) for name, sock in depot.copies.items()], depot=depot)
        with pytest.raises(OSError, match="the file is no socket"):
            newer.streams(str(path), 0, OPTIONS)
        newer.settle()
        newer.close()
        assert path.read_text() == "precious"


def test_the_file_of_a_socket_unit_is_gone(path: Path, opened: contextlib.ExitStack) -> None:
    """At the first start, and at later ones, which find the file of the socket that took its place."""
    units = opened.enter_context(socket.socket(socket.AF_UNIX))
    units.bind(str(path))
    units.listen()
    path.unlink()
    for _ in range(2):
        listeners = Listeners([("backhaul.socket", units.dup())])
        with listeners.streams(str(path), 0, OPTIONS) as listener:
            listeners.settle()
            opened.enter_context(dial(path))
            opened.enter_context(listener.accept()[0])
        listeners.close()
