"""The measurement of throughput through the tunnel: this command is the user and the target at once."""

import asyncio
import errno
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Final

from backhaul.config import ClientConfig
from backhaul.config.address import ServiceAddress
from backhaul.errors import BackhaulError, reason

from . import names, reach, services
from .circumstances import Circumstances, Spare
from .finding import Finding, fault, ok, skipped

SUBJECT: Final = "throughput"
_PIECE: Final = 1 << 18  # bytes
_COOKIE: Final = 32  # bytes, by which the target knows its user
_AT_A_TIME: Final = 64  # connections of which it is not known whether they begin with the cookie
_MOST_BEFORE: Final = 1024  # bytes before the cookie: a PROXY header
_START: Final = 0.25  # of the time, before the bytes count


class Failure(BackhaulError):  # noqa: N818 - a result, no defect
    """The end of the measurement."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.finding: Final = fault(SUBJECT, text, remedy)


async def examine(config: ClientConfig, around: Circumstances, spare: Spare) -> AsyncIterator[Finding]:
    """Yield the finding; this fills the line for a few seconds."""
    if config.facts.datagrams:
        yield skipped(SUBJECT, "not measured on transport udp")
        return
    try:
        async with _joined(config, around, spare) as (user, target):
            to_target = await _transfer(user, target, around.waits.transfer)
            to_user = await _transfer(target, user, around.waits.transfer)
    except Failure as failure:
        yield failure.finding
    except OSError as error:
        text = f"{spare}: the connection broke: {reason(error)}"
        yield fault(SUBJECT, text, "the logs of both ends have the reason")
    else:
        yield ok(SUBJECT, f"{spare}: {_rate(to_target)} to the target, {_rate(to_user)} to the user")


@asynccontextmanager
async def _joined(
    config: ClientConfig, around: Circumstances, spare: Spare
) -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """Yield both ends of a connection through the tunnel. Raises Failure."""
    cookie = secrets.token_bytes(_COOKIE)
    with _listen(spare) as listener:
        async with _user(config, around, spare) as user:
            await asyncio.get_running_loop().sock_sendall(user, cookie)
            try:
                async with asyncio.timeout(around.waits.connect):
                    target = await _accept(listener, cookie)
            except TimeoutError:
                text = f"{spare}: the user did not arrive at the target"
                remedy = "is the client connected, this target in `ports` of the server, and in allow_targets, if any?"
                raise Failure(text, remedy) from None
            with target:
                if target.getpeername() == user.getsockname():  # both ends are on this machine
                    text = f"{spare}: the user reached the target directly, not through the tunnel"
                    raise Failure(text, "add the port to `ports` of the server, with a target of another number")
                yield user, target


def _listen(spare: Spare) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in spare.target.host else socket.AF_INET
        listener = socket.create_server(spare.target, family=family)
    except OSError as error:
        text = f"{spare}: can't listen on the target: {reason(error)}"
        raise Failure(text, 'use a spare port, such as "5999=5999" in `ports` of the server') from None
    listener.setblocking(False)
    return listener


@asynccontextmanager
async def _user(config: ClientConfig, around: Circumstances, spare: Spare) -> AsyncIterator[socket.socket]:
    """Yield a connection to the port of the server. Raises Failure."""
    wait = around.waits.connect
    host = await _host(config, around)
    places, finding = await names.find(host, spare.port, "remote_addr", around.names, wait)
    if not places:
        raise Failure(finding.text, finding.remedy)
    arrivals = await reach.arrive(places, wait)
    best = reach.best(arrivals)
    if best.error:
        text = f"{spare}: the server's port can't be reached: {reach.obstacle(best)}"
        raise Failure(text, "add it to `ports` of the server, and open it in the firewalls")
    async with reach.connected(best.place, wait, reach.PLAIN) as user:
        yield user


async def _host(config: ClientConfig, around: Circumstances) -> str:
    """Return the host of the server, or of the first one of a service. Raises Failure."""
    if not isinstance(config.remote_addr, ServiceAddress):
        return config.remote_addr.host
    ranks, finding = await services.find(config, around)
    if not ranks:
        raise Failure(finding.text, finding.remedy)
    return next(iter(ranks)).host


async def _accept(listener: socket.socket, cookie: bytes) -> socket.socket:
    """Return the connection that begins with the cookie; others are closed, because they are those of users."""
    found: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
    receiving = asyncio.create_task(_receive(listener, cookie, found))
    try:
        return await found
    finally:
        receiving.cancel()
        await asyncio.wait([receiving])


async def _receive(listener: socket.socket, cookie: bytes, found: asyncio.Future[socket.socket]) -> None:
    """Examine the connections side by side, because users may send nothing."""
    places = asyncio.Semaphore(_AT_A_TIME)
    async with asyncio.TaskGroup() as group:
        while await places.acquire():
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            group.create_task(_examine(sock, cookie, found)).add_done_callback(lambda _: places.release())


async def _examine(sock: socket.socket, cookie: bytes, found: asyncio.Future[socket.socket]) -> None:
    with ExitStack() as kept, suppress(OSError):
        kept.enter_context(sock)
        if await _begins_with(sock, cookie) and not found.done():
            kept.pop_all()
            found.set_result(sock)


async def _begins_with(sock: socket.socket, cookie: bytes) -> bool:
    sock.setblocking(False)
    received = b""
    while len(received) < _MOST_BEFORE and (data := await asyncio.get_running_loop().sock_recv(sock, _MOST_BEFORE)):
        received += data
        if received.endswith(cookie):
            return True
    return False


async def _transfer(source: socket.socket, sink: socket.socket, seconds: float) -> float:
    """Send for some seconds; return the bits a second that arrive once TCP has found its pace. Raises OSError."""
    sending = asyncio.ensure_future(_fill(source))
    try:
        await _drain(sink, seconds * _START)
        begun = time.perf_counter()
        count = await _drain(sink, seconds)
        return count * 8 / (time.perf_counter() - begun)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _fill(source: socket.socket) -> None:
    piece = bytes(_PIECE)
    while True:
        await asyncio.get_running_loop().sock_sendall(source, piece)


async def _drain(sink: socket.socket, seconds: float) -> int:
    """Return how many bytes arrive within some seconds."""
    loop, buffer, count = asyncio.get_running_loop(), bytearray(_PIECE), 0
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while size := await loop.sock_recv_into(sink, buffer):
                count += size
            raise ConnectionResetError(errno.ECONNRESET, "closed by the other end")
    return count


def _rate(bits: float) -> str:
    """Return a rate in the usual units."""
    for size, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s")):
        if bits >= size:
            return f"{bits / size:.3g} {unit}"
    return f"{bits / 1e3:.3g} kbit/s"
