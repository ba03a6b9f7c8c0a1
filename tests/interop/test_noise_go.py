"""The handshake with an implementation in Go (flynn/noise) at the other end, in both roles."""

import subprocess
from pathlib import Path

import pytest
from tests.support.go_program import build

from backhaul.security.noise import Initiator, Keys, Responder, Shared

PSK, PROLOGUE = bytes(range(32)), b"backhaul wss"
OUR_KEY, ITS_KEY = bytes([3] * 32), bytes([4] * 32)
SHARED = Shared.mix(PSK, PROLOGUE)


@pytest.fixture(scope="module")
def program() -> Path:
    """Build the program with the Go library."""
    return build("noisepeer")


class Other:
    """The program, as one end of a handshake."""

    def __init__(self, program: Path, role: str, payload: bytes) -> None:
        words = [role, *(argument.hex() for argument in (PSK, PROLOGUE, ITS_KEY, payload))]
        self._process = subprocess.Popen([program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, message: bytes) -> None:
        """Pass a message to it."""
        assert self._process.stdin
        self._process.stdin.write(message.hex() + "\n")
        self._process.stdin.flush()

    def line(self) -> bytes:
        """Return its next message or result."""
        assert self._process.stdout
        return bytes.fromhex(self._process.stdout.readline())

    def agrees(self, payload: bytes, keys: Keys) -> bool:
        """Return whether it got this payload and has the same keys; it has ended then."""
        results = [self.line() for _ in range(3)]
        self._process.communicate(timeout=30)
        return results == [payload, keys.to_server, keys.to_client]


def test_as_client(program: Path) -> None:
    server, client = Other(program, "responder", b"response"), Initiator(SHARED, OUR_KEY)
    server.send(client.begin(b"request"))
    payload, keys = client.finish(server.line())
    assert payload == b"response"
    assert server.agrees(b"request", keys)


def test_as_server(program: Path) -> None:
    client = Other(program, "initiator", b"request")
    server = Responder(SHARED, client.line())
    assert server.payload == b"request"
    message, keys = server.answer(b"response", OUR_KEY)
    client.send(message)
    assert client.agrees(b"response", keys)
