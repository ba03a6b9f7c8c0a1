"""Events on their way out: to a command or to a web server, and the failures there."""

import asyncio
import base64
import errno
import json
import logging
import os
import shlex
import sys
from pathlib import Path

import pytest
from tests.support.net import Sockets, until

from backhaul.config.events import parse_on_event
from backhaul.system.event_sender import EventSender
from backhaul.system.event_ways import EventError, way_to

pytestmark = pytest.mark.both_loops
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def python(code: str, *arguments: str | Path) -> str:
    return shlex.join([sys.executable, "-c", code, *map(str, arguments)])


class Blocked:
    """A way that the test opens."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun: list[bytes] = []

    async def __call__(self, document: bytes) -> None:
        self.begun.append(document)
        await self.open.wait()


async def test_a_command_gets_the_document_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKHAUL_TOKEN", "a secret")
    told = tmp_path / "told $HOME"
    code = (
        "import os,sys; open(sys.argv[1],'w').write(sys.stdin.read() + str('BACKHAUL_TOKEN' in os.environ)); print(1)"
    )
    name, send = way_to(python(code, told))
    await send(b'{"event":"lost"} ')
    assert told.read_text() == '{"event":"lost"} False'
    assert name == sys.executable


@pytest.mark.parametrize(("code", "error"), [("raise SystemExit(3)", "it ended with status 3"), ("", "")])
async def test_a_command_fails_by_its_status_and_need_not_read(code: str, error: str) -> None:
    _, send = way_to(python(code))
    if error:
        with pytest.raises(EventError, match=error):
            await send(b"{}")
    else:
        await send(b"{}")


async def test_commands_that_end_at_once_have_not_failed() -> None:
    _, send = way_to("true")
    await asyncio.gather(*(send(b"{}") for _ in range(20)))  # uvloop closes the pipes of some before it writes


def read_now(descriptor: int) -> bytes:
    """Return a byte, nothing at the end, or a dash while there is none."""
    try:
        return os.read(descriptor, 1)
    except BlockingIOError:
        return b"-"


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    code = "import os,signal,sys; p=os.open(sys.argv[1], os.O_WRONLY); os.fork(); os.write(p, b'x'); signal.pause()"
    sender = EventSender(*way_to(python(code, tmp_path / "pipe")), last=0.01)
    sender.send(b"{}")
    await until(lambda: read_now(pipe) == b"x")
    await until(lambda: read_now(pipe) == b"x")
    await sender.close()
    await until(lambda: read_now(pipe) == b"")  # the last writer is gone
    os.close(pipe)


async def test_an_event_gets_a_limited_time(caplog: pytest.LogCaptureFixture) -> None:
    sender = EventSender("x", Blocked(), timeout=0.01)
    sender.send(b"{}")
    await until(lambda: caplog.messages)
    assert caplog.messages == ["on_event: x: not finished within 0.01 s; the event is lost"]
    await sender.close()


async def test_a_command_that_takes_too_long_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    sender = EventSender(*way_to(python("import signal; signal.pause()")), timeout=0.2)
    sender.send(b"{}")
    await sender.close()
    assert caplog.messages == [f"on_event: {sys.executable}: not finished within 0.2 s; the event is lost"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (EventError("it ended with status 3"), "it ended with status 3"),
        (OSError(errno.EACCES, "Permission denied"), "permission denied"),
        (ConnectionError(), "ConnectionError"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (MemoryError(), "MemoryError"),
    ],
)
async def test_a_failure_costs_one_event(error: Exception, why: str, caplog: pytest.LogCaptureFixture) -> None:
    begun: list[bytes] = []

    async def send(document: bytes) -> None:
        begun.append(document)
        if document == b"1":
            raise error

    sender = EventSender("x", send)
    for document in (b"1", b"2"):
        sender.send(document)
    await until(lambda: len(begun) == 2)
    sender.send(b"3")
    await sender.close()
    assert begun == [b"1", b"2", b"3"]
    assert caplog.messages == [f"on_event: x: {why}; the event is lost"]


async def test_a_web_server_gets_a_post(net: Sockets) -> None:
    listener = net.listen()
    name, send = way_to(f"http://user:p%40ss@127.0.0.1:{listener.port}/hook?key=secret")
    sending = asyncio.create_task(send(b'{"event":"lost"}'))
    peer = await listener.accept()
    request = b""
    while not request.endswith(b'{"event":"lost"}'):
        request += await peer.receive_some()
    await peer.send(OK)
    await sending
    lines = request.split(b"\r\n")
    assert lines[0] == b"POST /hook?key=secret HTTP/1.1"
    assert f"Host: 127.0.0.1:{listener.port}".encode() in lines
    assert b"Authorization: Basic " + base64.b64encode(b"user:p@ss") in lines
    assert b"Content-Length: 16" in lines
    assert name == f"http://127.0.0.1:{listener.port}"


async def test_interim_answers_of_a_web_server_are_no_failures(net: Sockets) -> None:
    listener = net.listen()
    sending = asyncio.create_task(way_to(f"http://127.0.0.1:{listener.port}")[1](b"{}"))
    peer = await listener.accept()
    assert (await peer.receive_some()).startswith(b"POST / HTTP/1.1\r\n")
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    await sending


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n", "it answered with status 302"),
        (b"HTTP/1.1 300 Choose\r\n\r\n", "it answered with status 300"),
        (b"HTTP/1.1 500 Oh\r\n\r\n", "it answered with status 500"),
        (b"SSH-2.0-x\r\n", "the answer is no HTTP"),
        (b"x" * 200_000, "the answer is no HTTP"),
    ],
)
async def test_other_answers_are_failures_and_redirects_stay_unfollowed(
    answer: bytes, error: str, net: Sockets
) -> None:
    listener = net.listen()
    sending = asyncio.create_task(way_to(f"http://127.0.0.1:{listener.port}")[1](b"{}"))
    peer = await listener.accept()
    await peer.receive_some()
    peer.sock.setblocking(False)
    await asyncio.gather(peer.send(answer), return_exceptions=True)
    with pytest.raises(EventError, match=error):
        await sending


async def test_a_failure_costs_one_line_without_the_secret(net: Sockets, caplog: pytest.LogCaptureFixture) -> None:
    listener = net.listen()
    listener.close()  # refuses from now on
    sender = EventSender(*way_to(f"http://me:pass@127.0.0.1:{listener.port}/secret"))
    for _ in range(3):
        sender.send(b"{}")
    await sender.close()
    (line,) = caplog.messages
    assert line.startswith(f"on_event: http://127.0.0.1:{listener.port}: ")
    assert line.endswith("; the event is lost")


async def test_a_missing_program_costs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    sender = EventSender(*way_to("/nowhere/told --key secret"))
    sender.send(b"{}")
    await sender.close()
    assert caplog.messages == ["on_event: /nowhere/told: no such file or directory; the event is lost"]


async def test_events_go_one_by_one_and_too_many_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "backhaul")
    way = Blocked()
    sender = EventSender("x", way, most_waiting=2)
    sender.send(b"1")
    await until(lambda: way.begun)
    for document in (b"2", b"3", b"4", b"5"):
        sender.send(document)
        await asyncio.sleep(0)
    assert way.begun == [b"1"]
    assert caplog.messages == ["on_event: x: 2 events wait; further ones are dropped"]
    way.open.set()
    await sender.close()
    assert way.begun == [b"1", b"2", b"3"]


async def test_the_end_waits_for_a_moment_only() -> None:
    way = Blocked()
    sender = EventSender("x", way, last=0.01)
    sender.send(b"1")
    await sender.close()
    assert way.begun == [b"1"]


@pytest.mark.parametrize(
    "text",
    ["  ", "'told", "told \0", "http://", "https://h:0/", "https://h:x/", "http://h/ a", "http://h\n/", "http://ä/"],
)
def test_mistakes_are_found_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r".+") as mistake:
        parse_on_event(text)
    assert json.dumps(text)[1:-1] not in str(mistake.value) or not text.strip()


@pytest.mark.parametrize("text", ["", "told --quiet", "'/a b/told' x", "HTTPS://u:p@h:8443/x?y=z", "http://[::1]/"])
def test_commands_and_urls_are_read(text: str) -> None:
    assert parse_on_event(text).reveal() == text
