"""Questions to a running program, which may hang, talk for ever, or be another user's."""

import asyncio
import contextlib
import json
import os
import socket
import threading
from pathlib import Path

import msgspec
import pytest
from tests.support.documents import documents

from backhaul.monitor.http import HttpServer
from backhaul.monitor.http_messages import Request, Response
from backhaul.system.calls import Call, RefusalError, ask
from backhaul.system.status_socket import serving
from backhaul.wire.http1 import HeadError

pytestmark = pytest.mark.both_loops


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backhaul" / "x.sock"


def test_a_program_that_hangs_is_reported(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(path))
        hanging.listen()
        with pytest.raises(TimeoutError):
            ask(path, patience=0.05)


def listen_at(path: Path) -> socket.socket:
    path.parent.mkdir(exist_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def talk(sock: socket.socket, piece: bytes) -> None:
    """Send ``piece`` to the first connection, again and again until it is closed."""
    with sock, sock.accept()[0] as asker, contextlib.suppress(OSError):
        while True:
            asker.sendall(piece)


async def test_an_endless_document_is_refused(path: Path) -> None:
    talking = asyncio.to_thread(talk, listen_at(path), b"x" * (1 << 20))
    results = await asyncio.gather(asyncio.to_thread(ask, path), talking, return_exceptions=True)
    assert isinstance(results[0], OSError)
    assert "longer than any status" in str(results[0])


async def test_a_program_that_answers_too_slowly_times_out(path: Path) -> None:
    """Each byte arrives in time, but the bytes never end."""
    sock = listen_at(path)
    stop = threading.Event()

    def dribble() -> None:
        with sock, sock.accept()[0] as asker, contextlib.suppress(OSError):
            while not stop.wait(0.01):
                asker.send(b"x")

    dribbling = asyncio.get_running_loop().run_in_executor(None, dribble)
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(ask, path, patience=0.2)
    stop.set()
    await dribbling


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_a_socket_that_another_user_listens_on_is_not_asked(path: Path) -> None:
    asked: list[None] = []
    async with serving(path, documents(lambda: asked.append(None))):
        os.chown(path, 65534, 65534)
        with pytest.raises(PermissionError):
            await asyncio.to_thread(ask, path)
        os.chown(path, 0, 0)
        await asyncio.to_thread(ask, path)  # accepted after the first one, which otherwise could outlive the loop
    assert len(asked) == 1


async def echo(request: Request) -> Response:
    return Response(msgspec.json.encode([request.method, request.path, (await request.read(99)).decode()]))


async def test_the_call_is_answered(path: Path) -> None:
    async with serving(path, HttpServer(echo)):
        found = await asyncio.to_thread(ask, path, Call("POST", "/api/close?x=1", b"7"))
        assert json.loads(found) == ["POST", "/api/close", "7"]


@pytest.mark.parametrize(
    ("body", "text"), [(b'{"error":"no such user"}', "no such user"), (b"gone\n", "status 410"), (b"{}", "status 410")]
)
async def test_a_refusal_is_an_error_with_the_reason(path: Path, body: bytes, text: str) -> None:
    async def refuse(_: Request) -> Response:
        return Response(body, status=410)

    async with serving(path, HttpServer(refuse)):
        with pytest.raises(RefusalError, match=text):
            await asyncio.to_thread(ask, path)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", ConnectionResetError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", ConnectionResetError),
        (b'{"version": "0.1"}', HeadError),
    ],
)
async def test_a_broken_answer_is_an_error(path: Path, raw: bytes, error: type[Exception]) -> None:
    sock = listen_at(path)

    def once() -> None:
        with sock, sock.accept()[0] as asker:
            asker.recv(1 << 16)
            asker.sendall(raw)

    answered = asyncio.get_running_loop().run_in_executor(None, once)
    with pytest.raises(error):
        await asyncio.to_thread(ask, path)
    await answered
