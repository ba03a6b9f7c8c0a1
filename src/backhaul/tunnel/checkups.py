"""Health checks of targets on the client, as its server asks for them."""

import asyncio
import functools
import re
import socket
from collections.abc import Callable
from typing import Final

from backhaul.errors import reason
from backhaul.wire.checks import Check, Health
from backhaul.wire.targets import parse_target

MOST: Final = 64
"""Checks at a time; a server asks for one for each of its groups."""
_PATIENCE: Final = 5.0  # seconds for an answer in HTTP
_MAX_LINE: Final = 4096  # bytes until the end of the status line
_GOOD: Final = re.compile(rb"HTTP/1\.[01] [23][0-9]{2}[ \r\n]")

Reached = Callable[[socket.socket | OSError], None]


class Checkups:
    """Repeats each check until it ends, and reports its outcome when it is known and whenever it changes."""

    def __init__(self, reach: Callable[[str, Reached], None], report: Callable[[Health], None]) -> None:
        """``reach`` connects to a target, if the client allows it."""
        self._reach = reach
        self._report = report
        self._running: dict[int, asyncio.Task[None]] = {}

    def requested(self, check: Check) -> None:
        """Begin a check, which replaces the one with its number; or end that one."""
        if before := self._running.pop(check.number, None):
            before.cancel()
        if check.interval and len(self._running) < MOST:
            self._running[check.number] = asyncio.create_task(self._repeat(check))

    def close(self) -> None:
        """End all checks."""
        for task in self._running.values():
            task.cancel()
        self._running.clear()

    async def _repeat(self, check: Check) -> None:
        failure = await self._try(check)
        healthy, run = not failure, 0
        self._report(Health(check.number, healthy, failure))
        while True:
            await asyncio.sleep(check.interval)
            failure = await self._try(check)
            run = run + 1 if healthy == bool(failure) else 0  # outcomes in a row that contradict what was reported
            if run >= (check.fall if healthy else check.rise):
                healthy, run = not healthy, 0
                self._report(Health(check.number, healthy, failure))

    async def _try(self, check: Check) -> str:
        """Return why the target is not healthy; empty if it is."""
        arrived: asyncio.Future[socket.socket | OSError] = asyncio.get_running_loop().create_future()
        self._reach(check.target, functools.partial(_settle, arrived))
        found = await arrived
        if isinstance(found, OSError):
            return reason(found)
        try:
            return await _examine(found, check)
        except TimeoutError:
            return f"no answer within {_PATIENCE:g} s"
        except OSError as error:
            return reason(error)
        finally:
            found.close()


def _settle(arrived: "asyncio.Future[socket.socket | OSError]", found: socket.socket | OSError) -> None:
    if not arrived.done():
        arrived.set_result(found)
    elif isinstance(found, socket.socket):  # the check has ended meanwhile
        found.close()


async def _examine(sock: socket.socket, check: Check) -> str:
    """Send what the check asks for; return the fault of the answer, empty if there is none or none is expected."""
    async with asyncio.timeout(_PATIENCE):
        await asyncio.get_running_loop().sock_sendall(sock, check.preface + _request(check))
        return _fault(await _status(sock)) if check.path else ""


def _request(check: Check) -> bytes:
    target = parse_target(check.target)
    host = target.host if target.port else "localhost"
    head = f"GET {check.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: backhaul\r\nConnection: close\r\n\r\n"
    return head.encode() if check.path else b""


async def _status(sock: socket.socket) -> bytes:
    """Return the first line of the answer."""
    loop, line = asyncio.get_running_loop(), b""
    while b"\n" not in line and len(line) < _MAX_LINE:
        data = await loop.sock_recv(sock, _MAX_LINE)
        if not data:
            break
        line += data
    return line.partition(b"\n")[0].rstrip(b"\r")


def _fault(status: bytes) -> str:
    if _GOOD.match(status + b"\n"):
        return ""
    text = status[:60].decode("ascii", "replace")
    return f"answered {text if text.isprintable() and text else 'nothing in HTTP'}"
