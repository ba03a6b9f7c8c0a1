"""A visitor's connection, for use in a task."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final

from backhaul.net.closing import release
from backhaul.net.poller import Callback, Poller

from .turns import Turns

_READ_SIZE: Final = 1 << 14  # at least a record of TLS, because no poller sees what stays in its buffer

Watch = Callable[[socket.socket, Callback], None]
Ignore = Callable[[socket.socket], None]


class Stream:
    """Reads into ``buffer``, with time limits set by the caller, and writes.

    Each piece takes one of ``turns``: a fast visitor, or many of them, would otherwise not let others have theirs.

    A visitor that reads nothing for ``patience`` seconds causes a TimeoutError, which is an OSError.
    """

    def __init__(self, poller: Poller, sock: socket.socket, data: bytes, patience: float, turns: Turns) -> None:
        self._loop = asyncio.get_running_loop()
        self._turns = turns
        self._poller = poller
        self._patience = patience
        self.sock = sock
        self.buffer = bytearray(data)
        """The bytes that have arrived and are not used yet."""

    @property
    def secure(self) -> bool:
        """True if this is TLS."""
        return isinstance(self.sock, ssl.SSLSocket)

    async def fill(self) -> bool:
        """Wait for more bytes; return False at the end. Raises OSError."""
        while True:
            await self._turns.take()
            try:
                data = self.sock.recv(_READ_SIZE)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
                await self._readable()
            except ssl.SSLWantWriteError:
                await self._writable()
            else:
                self.buffer += data
                return bool(data)

    async def send(self, data: bytes) -> None:
        """Send all of ``data``. Raises OSError."""
        rest = memoryview(data)
        while rest:
            await self._turns.take()
            try:
                rest = rest[self.sock.send(rest) :]
            except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
                await self._writable()
            except ssl.SSLWantReadError:
                await self._readable()

    async def send_file(self, fd: int, start: int, size: int) -> None:
        """Send a part of a file that the system has in memory, on a connection without TLS. Raises OSError."""
        while size:
            await self._turns.take()
            try:
                sent = os.sendfile(self.sock.fileno(), fd, start, size)
            except (BlockingIOError, InterruptedError):
                await self._writable()
                continue
            if not sent:
                raise OSError("the file has become shorter")
            start, size = start + sent, size - sent

    def finish(self) -> None:
        """Send the end of the connection's bytes to the visitor."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()  # sends the end of TLS without waiting for the visitor's
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    async def drain(self) -> None:
        """Discard further bytes, below TLS, until the visitor ends; closing earlier could reset the answer."""
        with contextlib.suppress(OSError):
            while True:
                await self._turns.take()
                try:
                    if not socket.socket.recv(self.sock, _READ_SIZE):
                        return
                except (BlockingIOError, InterruptedError):
                    await self._readable()

    def close(self) -> None:
        """Close; harmless when closed."""
        release(self._poller, self.sock)

    async def _readable(self) -> None:
        await self._wait(self._poller.on_readable, self._poller.ignore_readable)

    async def _writable(self) -> None:
        async with asyncio.timeout(self._patience):
            await self._wait(self._poller.on_writable, self._poller.ignore_writable)

    async def _wait(self, watch: Watch, ignore: Ignore) -> None:
        ready = self._loop.create_future()

        def wake() -> None:
            ignore(self.sock)
            if not ready.done():
                ready.set_result(None)

        watch(self.sock, wake)
        try:
            await ready
        finally:
            if self.sock.fileno() >= 0:
                ignore(self.sock)
