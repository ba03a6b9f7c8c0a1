"""A middlebox between the two ends of a tunnel, which can delay, cut or silence connections."""

import asyncio
import contextlib
import ctypes
import math
import socket
import struct
from typing import NamedTuple

from backhaul.net.tcp_info import unacknowledged

from .inside import received
from .net import HOST, Listener

# A socket gets only the packets that its filter passes; the kernel acknowledges no others: socket(7), SO_ATTACH_FILTER.
_ATTACH_FILTER, _DETACH_FILTER = 26, 27  # <asm-generic/socket.h>
_RETURN_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET of no bytes
_DROP_ALL = struct.pack("HP", 1, ctypes.addressof(_RETURN_NOTHING))

# Drop packets of more than 1000 bytes, TCP's header included: load the length, compare, return none or all.
_RETURN_SMALL = ctypes.create_string_buffer(
    struct.pack("HBBI", 0x80, 0, 0, 0)
    + struct.pack("HBBI", 0x25, 0, 1, 1000)
    + struct.pack("HBBI", 0x06, 0, 0, 0)
    + struct.pack("HBBI", 0x06, 0, 0, 0xFFFFFFFF)
)
_DROP_LARGE = struct.pack("HP", 4, ctypes.addressof(_RETURN_SMALL))

_MOST_UNDER_WAY = 1024  # pieces on a line with a length


def drop_large(sock: socket.socket) -> None:
    """Drop every large packet for a socket."""
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _DROP_LARGE)


def drop_all(sock: socket.socket) -> None:
    """Drop every packet for a socket, acknowledgements included."""
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _DROP_ALL)


def restore(sock: socket.socket) -> None:
    """Let packets reach the socket again."""
    sock.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


class Path:
    """One connection through the middlebox."""

    def __init__(self, client: socket.socket, server: socket.socket, line: "Line") -> None:
        self._ends = client, server
        if line.rate < math.inf:  # otherwise the kernel holds seconds of a narrow line
            for end in self._ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self._passed = _Passed(), _Passed()
        self._pumps = [
            asyncio.ensure_future(_pump(client, server, line, self._passed[0])),
            asyncio.ensure_future(_pump(server, client, line, self._passed[1])),
        ]

    def freeze(self) -> None:
        """Pass on neither bytes nor ends; to both sides the connection looks alive."""
        for pump in self._pumps:
            pump.cancel()

    def leads_to(self, address: object) -> bool:
        """Return whether this connection reaches the server from ``address``."""
        return bool(self._ends[1].getsockname() == address)

    @property
    def left(self) -> bool:
        """True if the client has ended its side."""
        return self._pumps[0].done()

    @property
    def settled(self) -> bool:
        """True if the middlebox has nothing to send or to repeat, which would pass a line that swallows packets."""
        ways = zip(self._ends, self._passed, self._pumps, strict=True)
        passed = all(pump.done() or received(end) == passed.count for end, passed, pump in ways)
        return passed and not any(map(unacknowledged, self._ends))

    def swallow(self) -> None:
        """Drop every packet of both ends, acknowledgements included, like a line that is down."""
        for end in self._ends:
            drop_all(end)

    def narrow(self) -> None:
        """Drop every large packet of both ends, like a line with a smaller MTU."""
        for end in self._ends:
            drop_large(end)

    def pass_on(self) -> None:
        """Restore the line; the kernels send again what was lost."""
        for end in self._ends:
            restore(end)

    def mute(self) -> None:
        """Drop every packet of the client; what the server sends still arrives."""
        drop_all(self._ends[0])

    def unmute(self) -> None:
        """Restore the line; the client's kernel sends again what was lost."""
        restore(self._ends[0])

    async def hang_up(self) -> None:
        """End the connection for the client alone, and keep silent to the server."""
        self.freeze()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._ends[0].close()

    async def forget(self) -> None:
        """End the connection for the server alone, and keep silent to the client: a NAT has lost its entry."""
        self.freeze()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._ends[1].close()

    async def cut(self) -> None:
        """End the connection for both sides."""
        self.freeze()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for end in self._ends:
            end.close()


class _Passed:
    """A number of bytes."""

    count = 0


async def _pump(source: socket.socket, sink: socket.socket, line: "Line", passed: _Passed) -> None:
    """Pass on bytes and their end, as ``line`` allows."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_UNDER_WAY if line.delay else 1)
    reading = asyncio.ensure_future(_read(source, line, under_way))
    try:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                break
            data = data[: int(min(len(data), line.freezes - passed.count))]
            await loop.sock_sendall(sink, data)
            passed.count += len(data)
        sink.shutdown(socket.SHUT_RDWR if reading.result() else socket.SHUT_WR)
    except OSError:
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
    finally:
        reading.cancel()


async def _read(source: socket.socket, line: "Line", under_way: asyncio.Queue[tuple[float, bytes]]) -> bool:
    """Read bytes until they end; return whether the end was an error."""
    loop = asyncio.get_running_loop()
    free = loop.time()  # when all bytes before the line have entered it
    with contextlib.suppress(OSError):
        while data := await loop.sock_recv(source, 1 << 16):
            free = max(free, loop.time()) + len(data) / line.rate
            await asyncio.sleep(free - loop.time())
            await under_way.put((free + line.delay, data))
        await under_way.put((loop.time() + line.delay, b""))
        return False
    await under_way.put((loop.time(), b""))
    return True


class Line(NamedTuple):
    """A line: ``delay`` seconds long, ``rate`` bytes a second wide.

    After ``freezes`` bytes in one direction of a connection nothing more passes in that direction.
    """

    delay: float = 0.0
    rate: float = math.inf
    freezes: float = math.inf


class Middlebox:
    """Forwards connections to a port of this machine, each on a line; the first path is the control channel."""

    def __init__(self, listener: Listener, port: int, line: Line) -> None:
        self.port = listener.port
        self.source = HOST
        """The address from which it connects, as a NAT that may get another one."""
        self.most = math.inf
        """The number of paths beyond which it closes new connections."""
        self.turned_away = 0
        self.alive = math.inf
        """The number of paths beyond which nothing passes on new ones."""
        self.paths: list[Path] = []
        self.listener = listener
        self.target = port
        """The port to which new connections are forwarded, as by a load balancer."""
        self._line = line
        self._running: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(listener.sock, self._accept)

    async def close(self) -> None:
        """Cut everything."""
        asyncio.get_running_loop().remove_reader(self.listener.sock)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for path in self.paths:
            await path.cut()

    def hold(self) -> None:
        """Leave new connections to the kernel: they are open to the client, and nobody answers."""
        asyncio.get_running_loop().remove_reader(self.listener.sock)

    def release(self) -> None:
        """Serve the connections that wait, and later ones."""
        asyncio.get_running_loop().add_reader(self.listener.sock, self._accept)

    def _accept(self) -> None:
        client, _ = self.listener.sock.accept()
        if len(self.paths) >= self.most:
            self.turned_away += 1
            client.close()
            return
        client.setblocking(False)
        task = asyncio.create_task(self._connect(client))
        self._running.add(task)
        task.add_done_callback(lambda task: self._connected(task, client))

    def _connected(self, task: asyncio.Task[None], client: socket.socket) -> None:
        self._running.discard(task)
        if task.cancelled():  # before its first step: it had no chance to close it
            client.close()

    async def _connect(self, client: socket.socket) -> None:
        """Connect; the other end learns of it after one and a half round trips."""
        server = socket.socket()
        server.setblocking(False)
        server.bind((self.source, 0))
        try:
            await asyncio.sleep(3 * self._line.delay)
            await asyncio.get_running_loop().sock_connect(server, (HOST, self.target))
        except (OSError, asyncio.CancelledError):
            client.close()
            server.close()
        else:
            self.paths.append(Path(client, server, self._line))
            if len(self.paths) > self.alive:
                self.paths[-1].freeze()
