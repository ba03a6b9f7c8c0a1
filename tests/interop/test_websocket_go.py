"""This upgrade and these frames against the Go library, in both roles, over a TCP connection."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.go_program import build

from backhaul.wire import upgrade
from backhaul.wire.http1 import Request, RequestReader
from backhaul.wire.upgrade import (
    NONCE_SIZE,
    USER_AGENTS,
    AnswerReader,
    Asked,
    UpgradeError,
    accept,
    bearer,
    encode_key,
    is_direct_v072,
    key_of,
    padding_line,
    upgrade_problem,
)
from backhaul.wire.websocket import BINARY, CLOSE, MAX_HEADER, PING, PONG, TEXT, FrameParser, encode, put_header

TOKEN = b"s3cret"
TARGET = b"127.0.0.1:7100"
PATIENCE = 30.0  # seconds without a byte after which the two ends count as stuck
FRAGMENT = 4096  # bytes: the write buffer of the Go client
SIZES = [1, 125, 126, FRAGMENT, FRAGMENT + 1, 16384, 65535, 65536, 300_000]


@pytest.fixture(scope="module")
def peer() -> Path:
    """Build the program with the Go library."""
    return build("wspeer")


class Link:
    """One end of a WebSocket connection, with blocking calls; answers pings."""

    def __init__(self, connection: socket.socket, rest: bytes, *, is_client: bool) -> None:
        self.connection = connection
        self.is_client = is_client
        self.messages: list[tuple[int, bytes]] = []
        self.controls: list[tuple[int, bytes]] = []
        self.gathered = bytearray()
        self.pings = 0
        self.parser = FrameParser(self, expect_masked=not is_client)
        self.parser.feed(memoryview(rest))

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        self.gathered += piece
        if message_end:
            self.messages.append((opcode, bytes(self.gathered)))
            self.gathered.clear()

    def on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.pings += 1
            self.connection.sendall(encode(PONG, payload, masked=self.is_client))
        else:
            self.controls.append((opcode, payload))

    def read_some(self) -> bytes:
        data = self.connection.recv(100_000)
        assert data, "the peer closed the connection"
        self.parser.feed(memoryview(data))
        return data

    def receive(self) -> tuple[int, bytes]:
        while not self.messages:
            self.read_some()
        return self.messages.pop(0)

    def receive_control(self) -> tuple[int, bytes]:
        while not self.controls:
            self.read_some()
        return self.controls.pop(0)

    def send(self, payload: bytes) -> None:
        """Send a binary message as a relay does, with the header put right before it."""
        buffer = memoryview(bytearray(MAX_HEADER) + payload)
        start = put_header(buffer, MAX_HEADER, len(payload), masked=self.is_client)
        self.connection.sendall(buffer[start:])

    def exchange(self, sizes: list[int]) -> None:
        """Echo messages of these sizes."""
        for size in sizes:
            payload = os.urandom(size)
            self.send(payload)
            assert self.receive() == (BINARY, payload)


@contextmanager
def go_client(peer: Path, *options: str, code: int = 0) -> Iterator[tuple[socket.socket, Request]]:
    """Run the peer as client; yield its connection and request. It must end with ``code`` when that is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        command = [str(peer), "-role", "client", "-connect", address, *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(PATIENCE)
                    yield connection, read_request(connection)
                _, errors = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
    assert process.returncode == code, errors


def read_request(connection: socket.socket) -> Request:
    reader = RequestReader()
    while not (request := reader.feed(connection.recv(100_000))):
        pass
    assert bearer(request) == TOKEN
    assert not upgrade_problem(request)
    assert is_direct_v072(request)
    return request


@pytest.fixture(scope="module")
def go_server(peer: Path) -> Iterator[tuple[str, int]]:
    """Run the peer as server; yield its address."""
    with subprocess.Popen([str(peer), "-role", "server"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            host, port = process.stdout.readline().split(":")
            yield host, int(port)
        finally:
            process.kill()


def dial(address: tuple[str, int], *, path: str = "/tunnel/7", token: bytes = TOKEN) -> Link:
    """Upgrade a connection to the peer."""
    connection = socket.create_connection(address, timeout=PATIENCE)
    try:
        key = encode_key(os.urandom(NONCE_SIZE))
        host = f"{address[0]}:{address[1]}"
        asked = Asked(path=path, host=host, default_port=80, key=key, user_id=7, user_agent=USER_AGENTS[0])
        connection.sendall(upgrade.request(asked, token))
        reader = AnswerReader(key)
        while not (answer := reader.feed(connection.recv(100_000))):
            pass
    except BaseException:
        connection.close()
        raise
    assert not answer.message
    return Link(connection, answer.rest, is_client=True)


@pytest.mark.parametrize("padded", [False, True])
def test_the_go_client_with_this_server(peer: Path, *, padded: bool) -> None:
    with go_client(peer) as (connection, request):
        connection.sendall(accept(key_of(request), padding_line(key_of(request)) if padded else b""))
        link = Link(connection, request.rest, is_client=False)
        assert link.receive() == (BINARY, b"")
        assert link.pings == 1
        link.send(b"")
        connection.sendall(encode(TEXT, TARGET, masked=False))
        link.exchange(SIZES)


def test_the_go_client_fragments_messages_above_its_buffer(peer: Path) -> None:
    with go_client(peer) as (connection, request):
        connection.sendall(accept(key_of(request)))
        link = Link(connection, request.rest, is_client=False)
        assert link.receive() == (BINARY, b"")
        link.send(b"")
        connection.sendall(encode(TEXT, TARGET, masked=False))
        link.send(bytes(FRAGMENT + 1))
        assert link.read_some()[0] == BINARY, "the frame is final: this library does not fragment"
        assert link.receive() == (BINARY, bytes(FRAGMENT + 1))


@pytest.mark.parametrize("cut", [0, 1, 1000, 4000, 4096, 4200])
def test_padding_keeps_the_bytes_after_the_answer(peer: Path, cut: int) -> None:
    """Without padding this client loses raw bytes right after the answer, such as those of wsmux."""
    with go_client(peer, "-raw") as (connection, request):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = accept(key_of(request), padding_line(key_of(request))) + b"first bytes of smux"
        connection.sendall(stream[:cut])
        connection.sendall(stream[cut:])
        echo = b""
        while len(echo) < len(b"first bytes of smux"):
            data = connection.recv(100)
            assert data, "the peer closed the connection"
            echo += data
        assert echo == b"first bytes of smux"


def test_the_go_client_learns_that_its_token_is_wrong(peer: Path) -> None:
    with go_client(peer, code=1) as (connection, _):
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def test_the_go_server_with_this_client(go_server: tuple[str, int]) -> None:
    link = dial(go_server)
    with link.connection:
        link.exchange(SIZES)
        link.connection.sendall(encode(TEXT, TARGET, masked=True))
        assert link.receive() == (TEXT, TARGET)


def test_control_frames_with_the_go_server(go_server: tuple[str, int]) -> None:
    link = dial(go_server, path="/tunnel/7/ping")
    with link.connection:
        assert link.receive() == (BINARY, b"")
        assert link.pings == 1
        link.send(b"")
        link.connection.sendall(encode(PING, b"x" * 125, masked=True))
        assert link.receive_control() == (PONG, b"x" * 125)
        goodbye = (1000).to_bytes(2, "big")
        link.connection.sendall(encode(CLOSE, goodbye + b"reason", masked=True))
        assert link.receive_control() == (CLOSE, goodbye)


def test_the_go_server_refuses_another_token(go_server: tuple[str, int]) -> None:
    with pytest.raises(UpgradeError, match="refused the token"):
        dial(go_server, token=b"another")
