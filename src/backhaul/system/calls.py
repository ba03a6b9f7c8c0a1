"""Calls of the API of running programs, through their status sockets."""

import contextlib
import errno
import socket
import struct
import time
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from backhaul.errors import UNREADABLE, BackhaulError
from backhaul.wire.http1 import ResponseReader

_PATIENCE: Final = 5.0  # seconds; a program that takes longer to answer hangs
_LEAST_PATIENCE: Final = 0.001  # 0 would make the socket non-blocking
_MAX_DOCUMENT: Final = 64 << 20  # bytes; 65 535 ports are some 20 MB
_CREDENTIALS: Final = struct.Struct("3i")  # process, user, group


class Call(NamedTuple):
    """A request to a running program."""

    method: str
    target: str
    """Path and query of the URL."""
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes of the request."""
        lines = [
            f"{self.method} {self.target} HTTP/1.1",
            "Host: backhaul",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


STATUS: Final = Call("GET", "/api/status")


class RefusalError(BackhaulError):
    """A running program refused a request."""


class _Problem(msgspec.Struct):
    error: str


def ask(path: Path, call: Call = STATUS, patience: float = _PATIENCE) -> bytes:
    """Return the JSON document with which a program answers; ``patience`` limits the seconds for the whole answer.

    Any user may create a socket where root looks. Therefore its listener must own the file, and time and size of
    the answer are bounded. Raises ConnectionRefusedError or FileNotFoundError if the program has ended,
    PermissionError if another user listens, TimeoutError if the program hangs, RefusalError if it refuses, HeadError if
    it does not speak HTTP, and OSError otherwise.
    """
    end = time.monotonic() + patience
    with connect(path, patience) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the answer gives the reason
            sock.sendall(call.encode())
        answer = _receive(sock, end)
    return _document_in(answer)


def connect(path: Path, patience: float) -> socket.socket:
    """Return a connection to the program behind a socket; raise PermissionError if another user listens, or OSError."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(patience)
        sock.connect(str(path))
        if _owner(sock) != path.lstat().st_uid:
            raise PermissionError(errno.EPERM, "another user listens on it")
    except OSError:
        sock.close()
        raise
    return sock


def _document_in(answer: bytes) -> bytes:
    """Return the body of an answer; raise RefusalError if it is not that of a success."""
    head = ResponseReader().feed(answer)
    if head is None or head.headers.get(b"content-length") != b"%d" % len(head.rest):
        raise ConnectionResetError(errno.ECONNRESET, "the answer is cut off")
    if head.status == HTTPStatus.OK:
        return head.rest
    try:
        raise RefusalError(msgspec.json.decode(head.rest, type=_Problem).error)
    except UNREADABLE:
        raise RefusalError(f"status {head.status}") from None


def _owner(sock: socket.socket) -> int:
    """Return the user who listens on the other end, unix(7)."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user


def _receive(sock: socket.socket, end: float) -> bytes:
    """Return all bytes received before ``end``, a moment of the monotonic clock."""
    document = bytearray()
    while piece := sock.recv(1 << 16):
        document += piece
        if len(document) > _MAX_DOCUMENT:
            raise OSError(errno.EMSGSIZE, "longer than any status")
        sock.settimeout(max(_LEAST_PATIENCE, end - time.monotonic()))
    return bytes(document)
