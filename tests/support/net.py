"""Ends of connections that a test drives, and ports for them."""

import asyncio
import contextlib
import itertools
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PATIENCE = 20.0  # seconds without the expected event: something hangs, and the test should show where
_PORTS = itertools.count(random.randrange(10000))  # noqa: S311 - two test runs at a time should differ
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

# A relay without progress may only wait for its turn. A process that a busy machine stops for all of this time has
# served its sockets in the first of these turns.
_TURNS, _TURN = 10, 0.01  # seconds
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def free_port(host: str = HOST, *, digits: int = 5) -> int:
    """Return a port that is free for TCP and UDP, which no other call returns soon, not even of another worker.

    It is an odd one, mostly below the range of the source ports of connections. Linux takes the even ones of those
    first (inet_hash_connect), so no connection has it before a test listens on it. Source ports of datagrams are any.
    """
    lowest, count = (10001, 10000) if digits == 5 else (5001, 2500)
    count //= _WORKERS
    while True:
        port = lowest + 2 * (_WORKER * count + next(_PORTS) % count)
        if all(is_free(host, port, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
            return port


def is_free(host: str, port: int, kind: socket.SocketKind) -> bool:
    """Return whether nothing listens on a port."""
    with socket.socket(_family(host), kind) as sock, contextlib.suppress(OSError):
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        return True
    return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Return once ``condition()`` is true; TimeoutError after ``patience`` seconds."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - the program has no event for everything that a test looks at
            await asyncio.sleep(0.002)


async def ready(socks: Iterable[socket.socket], *, write: bool = False) -> None:
    """Wait until one of the sockets has something to read, or (``write``) accepts bytes."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    watched = list(socks)
    watch, forget = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    for sock in watched:
        watch(sock, woken.set)
    try:
        await woken.wait()
    finally:
        for sock in watched:
            forget(sock)


async def echo(user: "Peer", data: bytes) -> None:
    """Echo ``data``; the user stays connected."""
    await user.send(data)
    assert await user.receive(len(data)) == data


class Peer:
    """One end of a TCP connection; every wait is bounded by PATIENCE (TimeoutError)."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of this end."""
        host, port = self.sock.getsockname()[:2]
        return host, port

    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        async with asyncio.timeout(PATIENCE):
            await self._loop.sock_sendall(self.sock, data)

    async def receive(self, count: int) -> bytes:
        """Return exactly ``count`` bytes; EOFError with the bytes received if the other end is done before."""
        data = bytearray()
        async with asyncio.timeout(PATIENCE):
            while len(data) < count:
                chunk = await self._loop.sock_recv(self.sock, min(count - len(data), 1 << 18))
                if not chunk:
                    raise EOFError(bytes(data))
                data += chunk
        return bytes(data)

    async def receive_all(self) -> bytes:
        """Return all bytes up to the end of the other side."""
        data = bytearray()
        async with asyncio.timeout(PATIENCE):
            while chunk := await self._loop.sock_recv(self.sock, 1 << 18):
                data += chunk
        return bytes(data)

    async def receive_some(self) -> bytes:
        """Return the bytes that have arrived, at least one; b"" at the end."""
        async with asyncio.timeout(PATIENCE):
            return await self._loop.sock_recv(self.sock, 1 << 18)

    async def closed(self) -> bool:
        """Read up to the end; return whether it was an orderly one (no reset)."""
        try:
            await self.receive_all()
        except ConnectionResetError:
            return False
        return True

    def silent(self) -> bool:
        """True if nothing has arrived: neither bytes nor the end."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def fill(self) -> int:
        """Send until the kernel accepts no more; return the number of bytes."""
        sent, block = 0, bytes(1 << 16)
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += self.sock.send(block)
        return sent

    def shut_write(self) -> None:
        """Finish this end's direction."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.sock.close()

    def close(self) -> None:
        """Close; harmless when closed."""
        self.sock.close()


class Listener:
    """A listening socket whose connections the test accepts one at a time."""

    def __init__(self, sock: socket.socket, keep: Callable[[Peer], Peer]) -> None:
        self.sock = sock
        self.port: int = sock.getsockname()[1]
        self._keep = keep

    async def accept(self) -> Peer:
        """Return the next connection."""
        async with asyncio.timeout(PATIENCE):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
        return self._keep(Peer(sock))

    def close(self) -> None:
        """Stop listening."""
        self.sock.close()


class Sockets:
    """Makes peers and listeners, and closes all of them at the end."""

    def __init__(self) -> None:
        self._peers: list[Peer] = []
        self._listeners: list[Listener] = []

    async def dial(self, port: int, host: str = HOST, *, source: str = "", rcvbuf: int = 0) -> Peer:
        """Connect to a port, from the address ``source`` if given."""
        sock = socket.socket(_family(host))
        peer = self.keep(Peer(sock))
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            sock.bind((source, 0))
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        return peer

    async def dial_path(self, path: str | Path) -> Peer:
        """Connect to a Unix socket."""
        sock = socket.socket(socket.AF_UNIX)
        peer = self.keep(Peer(sock))
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(sock, str(path))
        return peer

    def listen(self, port: int = 0, host: str = HOST, *, backlog: int = 128, rcvbuf: int = 0) -> Listener:
        """Listen on ``port``, or on a free one."""
        sock = socket.socket(_family(host))
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.bind((host, port or free_port(host)))
        sock.listen(backlog)
        self._listeners.append(Listener(sock, self.keep))
        return self._listeners[-1]

    def keep(self, peer: Peer) -> Peer:
        """Close this one at the end, too."""
        self._peers.append(peer)
        return peer

    def close_peers(self) -> None:
        """Close every connection."""
        while self._peers:
            self._peers.pop().close()

    def close_listeners(self) -> None:
        """Close every listener."""
        while self._listeners:
            self._listeners.pop().close()

    async def pair(self) -> tuple[Peer, Peer]:
        """Return both ends of a new TCP connection."""
        listener = self.listen()
        near, far = await asyncio.gather(self.dial(listener.port), listener.accept())
        listener.close()
        return near, far


def cuts(data: bytes, size: int) -> Iterator[bytes]:
    """Yield ``data`` in pieces of ``size`` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def until_reset(peer: Peer) -> bytes:
    """Return all bytes up to a reset, which must come."""
    data = bytearray()
    try:
        while piece := await peer.receive_some():
            data += piece
    except ConnectionResetError:
        return bytes(data)
    raise AssertionError("ended in order")


async def fill(peer: Peer) -> int:
    """Send until no buffer along the way accepts more; return the number of bytes."""
    total = peer.fill()
    while await _accepts_more(peer):
        total += peer.fill()
    return total


async def _accepts_more(peer: Peer) -> bool:
    for _ in range(_TURNS):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TURN):
                await ready([peer.sock], write=True)
                return True
    return False


async def upload(peer: Peer) -> None:
    """Send without end, until the connection breaks."""
    with contextlib.suppress(OSError):
        while True:
            await peer.send(bytes(65536))


@contextlib.asynccontextmanager
async def uploading(peers: Iterable[Peer]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Let peers upload during the block, which gets their tasks."""
    tasks = [asyncio.create_task(upload(peer)) for peer in peers]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def received_before_the_end(peer: Peer) -> bytes:
    """Return what arrives before the end, which may be a reset."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := await peer.receive_some():
            data += piece
    return data
