"""The two ways in which an event leaves: to a command, or to a web server. Neither reveals the value of the setting."""

import asyncio
import base64
import contextlib
import errno
import os
import shlex
import signal
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from backhaul.errors import BackhaulError
from backhaul.net.connector import scoped_host
from backhaul.net.resolver import find
from backhaul.threads import in_thread
from backhaul.wire.http1 import HeadError, Response, ResponseReader

Send = Callable[[bytes], Coroutine[Any, Any, None]]
"""Delivers a JSON document; raises EventError or OSError if that fails."""

_OWN: Final = ("BACKHAUL_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "FDSTORE", "CREDENTIALS_DIRECTORY")
_READ: Final = 1 << 12  # bytes
_OK_FROM, _OK_BELOW = 200, 300
_PORTS: Final = {"http": 80, "https": 443}
_KEPT: Final = 60.0  # seconds


class EventError(BackhaulError):
    """An event that was refused, and why."""


def is_url(target: str) -> bool:
    """Return whether a target is a web address and no command."""
    return target.lower().startswith(("http://", "https://"))


def way_to(target: str, *, clock: Callable[[], float] = time.monotonic) -> tuple[str, Send]:
    """Return a name for logs, and a function that delivers events."""
    if is_url(target):
        parts, authorities = urlsplit(target), _Authorities(clock)
        return f"{parts.scheme}://{_host(parts)}", lambda document: _post(parts, authorities, document)
    command = shlex.split(target)
    return command[0], lambda document: _run(command, document)


async def _run(command: list[str], document: bytes) -> None:
    """Run a command without a shell; when cancelled, kill it and all processes that it has started."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith(_OWN)},
        start_new_session=True,
    )
    try:
        await _told(process, document)
    except asyncio.CancelledError:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        raise
    if process.returncode:
        raise EventError(f"it ended with status {process.returncode}")


async def _told(process: asyncio.subprocess.Process, document: bytes) -> None:
    """Give a process the document, and wait for its end."""
    try:
        await process.communicate(document)
    except RuntimeError:  # of uvloop: it has ended already, and its pipe is closed
        await process.wait()


class _Authorities:
    """The authorities of the system, read once a minute at most: each time takes 30 ms of CPU time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._read_at = 0.0

    async def context(self) -> ssl.SSLContext:
        """Return the context of a connection."""
        if self._context is None or self._clock() - self._read_at >= _KEPT:
            self._context = await in_thread(ssl.create_default_context)
            self._read_at = self._clock()
        return self._context


async def _post(parts: SplitResult, authorities: _Authorities, document: bytes) -> None:
    """Send a POST; only an answer of 2xx is a success, and no redirect is followed."""
    reader, writer = await _connect(parts, await authorities.context() if parts.scheme == "https" else None)
    try:
        writer.write(_request(parts, document))
        answer = await _answer(reader)
    finally:
        writer.transport.abort()
    if not _OK_FROM <= answer.status < _OK_BELOW:
        raise EventError(f"it answered with status {answer.status}")


async def _answer(reader: asyncio.StreamReader) -> Response:
    head = ResponseReader()
    with contextlib.suppress(HeadError):
        while data := await reader.read(_READ):
            if response := head.feed(data):
                return response
    raise EventError("the answer is no HTTP")


async def _connect(parts: SplitResult, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first of the server's addresses that accepts; raise OSError with the error of the last one."""
    name, port = unquote(parts.hostname or ""), parts.port or _PORTS[parts.scheme]
    failure = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for _, address in await find(name):
        try:
            host = scoped_host(address)
            return await asyncio.open_connection(host, port, ssl=tls, server_hostname=name if tls else None)
        except OSError as error:
            failure = error
    raise failure


def _request(parts: SplitResult, document: bytes) -> bytes:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {_host(parts)}",
        "User-Agent: backhaul",
        "Content-Type: application/json",
        f"Content-Length: {len(document)}",
        "Connection: close",
    ]
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Authorization: Basic {base64.b64encode(login.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode() + document


def _host(parts: SplitResult) -> str:
    """Return host and port without a login."""
    return parts.netloc.rpartition("@")[2]
