import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backhaul.system import notify
from backhaul.system.shared_manager import SharedManager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A service manager's end of the notification socket."""
    name = f"backhaul-test-{secrets.token_hex(8)}"
    shown, bound = str(tmp_path / "notify"), str(tmp_path / "notify")
    if request.param == "abstract":
        shown, bound = f"@{name}", f"\0{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(bound)
        end.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", shown)
        yield end


def received(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_ready(manager: socket.socket) -> None:
    notify.ready()
    assert received(manager) == ["READY=1"]


def test_reloading_carries_its_start_time(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    notify.reloading()
    after = time.monotonic_ns() // 1000
    state, stamp = received(manager)
    assert state == "RELOADING=1"
    name, _, value = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= after


def test_stopping_status_and_watchdog(manager: socket.socket) -> None:
    notify.stopping()
    notify.status("2 clients")
    notify.watchdog()
    assert received(manager) == ["STOPPING=1"]
    assert received(manager) == ["STATUS=2 clients"]
    assert received(manager) == ["WATCHDOG=1"]


def test_a_status_cannot_inject_an_assignment(manager: socket.socket) -> None:
    notify.status("peer said\nMAINPID=1\r\n\ud800")
    assert received(manager) == ["STATUS=peer said MAINPID=1 ?"]


def test_without_a_service_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.ready()


@pytest.mark.parametrize("address", ["/nonexistent/notify", "relative-and-missing", "@" + "x" * 200])
def test_an_unreachable_service_manager_is_no_failure(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with caplog.at_level("DEBUG", "backhaul"):
        notify.ready()
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


@pytest.mark.parametrize(
    ("allowed", "intended_for", "interval"),
    [
        ("3000000", None, 1.0),
        ("3000000", "self", 1.0),
        ("3000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_watchdog_interval(
    allowed: str | None, intended_for: str | None, interval: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = str(os.getpid()) if intended_for == "self" else intended_for
    for name, value in (("WATCHDOG_USEC", allowed), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert notify.watchdog_interval() == interval


def test_the_watchdog_hears_no_more_than_it_needs(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    moments = iter([100.0, 101.0, 109.5, 110.5, 111.0])
    watchdog = notify.Watchdog(notify, lambda: next(moments))
    for _ in range(5):
        watchdog.feed()
    notify.stopping()
    assert [received(manager) for _ in range(3)] == [["WATCHDOG=1"], ["WATCHDOG=1"], ["STOPPING=1"]]


def test_without_a_watchdog_none_is_fed(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notify.Watchdog(notify).feed()
    notify.stopping()
    assert received(manager) == ["STOPPING=1"]


def test_a_socket_is_stored_and_taken_back(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = notify.Store()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for size in ("", "0"):
            monkeypatch.setenv("FDSTORE", size)
            assert not store.keep("tcp-443", listener)
        monkeypatch.setenv("FDSTORE", "64")
        with monkeypatch.context() as alone:
            alone.delenv("NOTIFY_SOCKET")
            assert not store.keep("tcp-443", listener)
        assert store.keep("tcp-443", listener)
        message, descriptors, _, _ = socket.recv_fds(manager, 4096, 2)
        assert message.decode().split("\n") == ["FDSTORE=1", "FDNAME=tcp-443", "FDPOLL=0"]
        (descriptor,) = descriptors
        with socket.socket(fileno=descriptor) as copy:
            assert copy.getsockname() == listener.getsockname()
    store.drop("tcp-443")
    assert received(manager) == ["FDSTOREREMOVE=1", "FDNAME=tcp-443"]


@pytest.mark.parametrize("intended_for", ["", "1"])
def test_sockets_passed_to_another_process_are_left_alone(intended_for: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", intended_for)
    assert notify.inherited() == []


TAKE = """
import os
from backhaul.system import notify
for name, sock in notify.inherited():
    print(name, sock.getsockname()[1], os.get_inheritable(sock.fileno()))
print(notify.inherited())
"""


@pytest.mark.parametrize(("names", "name"), [("a:a-file:none", "a"), ("", "")])
def test_sockets_are_taken_once_and_anything_else_is_closed(names: str, name: str, tmp_path: Path) -> None:
    """Of three descriptors one is a socket, one is a file, and one was closed by a wrapper of the program."""
    file = tmp_path / "file"
    file.touch()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        variables = f"LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES={names}"
        script = f'exec 3<&{listener.fileno()} 4<{file} 5<&-; {variables} exec "$@"'
        run = subprocess.run(
            ["bash", "-c", script, "bash", sys.executable, "-c", TAKE],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            pass_fds=[listener.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (run.stdout, run.stderr) == (f"{name} {port} False\n[]\n", "")


def test_several_ends_are_one_service(manager: socket.socket) -> None:
    shared = SharedManager()
    one, two = (shared.part(name, lambda _spot: False) for name in ("one", "two"))
    one.ready()
    one.status("up")
    two.ready()
    two.ready()
    two.status("down")
    assert [received(manager) for _ in range(3)] == [["STATUS=one: up"], ["READY=1"], ["STATUS=one: up; two: down"]]
    one.reloading()
    two.reloading()
    one.ready()
    two.ready()
    assert [received(manager)[0] for _ in range(2)] == ["RELOADING=1", "READY=1"]
    two.reloading()
    two.stopping()
    assert [received(manager)[0] for _ in range(3)] == ["RELOADING=1", "STATUS=one: up", "READY=1"]
    for _ in range(2):
        one.stopping()
    one.watchdog()
    assert [received(manager) for _ in range(3)] == [["STATUS="], ["STOPPING=1"], ["WATCHDOG=1"]]
