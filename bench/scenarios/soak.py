"""Live reload under traffic: all transports at once, with good and broken files rewritten every second.

Run it with ``python -m bench.scenarios.soak [--minutes 10]``. Each tunnel begins with one transport and changes to the
next one every nine seconds. No request may fail on ports that stay the same: new connections, one connection that stays
open, and datagrams (of the tunnel that begins with udp) are tried without a pause. It ends with 1 if one failed, or if
a process has much more memory at the end than after the first minute.
"""

import argparse
import asyncio
import contextlib
import functools
import itertools
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import raise_file_limit
from bench.processes import (
    LOOPBACK,
    BenchError,
    Program,
    Programs,
    answers_datagram,
    echoes,
    free_port,
    wait_until,
)
from bench.scenarios.backends import make_certificate, own_state, python_environment, start_services

TRANSPORTS = ("tcp", "tcpmux", "ws", "wss", "wsmux", "wssmux", "udp")
PATIENCE = 8.0  # seconds for one request: users wait up to 3 s for a client that returns
STAY = 9  # seconds between two changes of the transport, a multiple of three
WARM_UP = 60.0  # seconds after which memory and descriptors are first measured: each transport has been used by then
GROWTH = 6 << 20  # bytes of memory that a process may gain after that: caches of the allocator
BROKEN = ("[server\n", "hartbeat = 1\n", 'transport = "tpc"\n', 'heartbeat = "abc"\n', "\x00", "")


@dataclass
class Tally:
    """The results of one transport's requests."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds

    async def tried(self, what: str, request: Callable[[], Awaitable[None]]) -> None:
        """Run a request, and count its result."""
        begun = time.monotonic()
        self.requests += 1
        try:
            async with asyncio.timeout(PATIENCE):
                await request()
        except (OSError, TimeoutError, EOFError, ValueError) as error:
            self.failures.append(f"{time.strftime('%X')} {what}: {error!r}")
        self.slowest = max(self.slowest, time.monotonic() - begun)


class Tunnel:
    """Both ends of one transport, as processes, and their files."""

    def __init__(self, transport: str, programs: Programs, echo: int, tls: tuple[Path, Path]) -> None:
        self.name = transport
        self.datagrams = transport == "udp"
        self._transports = _from(transport)
        self._transport = next(self._transports)
        self.tally = Tally()
        self.port, self._spare, self._bind = free_port(), free_port(), free_port()
        self._echo, self._tls = echo, tls
        self._period = 0  # part of the token
        self._files = [programs.file(f"{transport}-{side}.toml", "") for side in ("server", "client")]
        self._write()
        environment = {**python_environment(), **own_state(programs, transport)}
        self.ends: list[Program] = [
            programs.start(file.stem, [sys.executable, "-m", "backhaul", "-c", str(file)], environment)
            for file in self._files
        ]

    def await_start(self) -> None:
        """Return when a user is served."""
        served = functools.partial(answers_datagram if self.datagrams else echoes, self.port)
        wait_until(served, f"the tunnel of {self.name}", *self.ends)

    def rewrite(self, second: int) -> None:
        """Rewrite both files: in place, by a replacement, or with nonsense."""
        if second % 3 == 1:
            for file in self._files:
                file.write_text(file.read_text() + random.choice(BROKEN))  # noqa: S311
            return
        if second % 20 == 0:
            self._period = second
        if second % STAY == 0:
            self._transport = next(self._transports)
        self._write()
        if second % 20 == 0:  # both at once, like an administrator with two terminals
            for end in self.ends:
                os.kill(end.pid, signal.SIGHUP)

    def _write(self) -> None:
        common = f'transport = "{self._transport}"\ntoken = "{self._period}"\nskip_optz = true\n'
        common += f'log_level = "{random.choice(["info", "debug"])}"\n'  # noqa: S311
        mappings = [f'"{LOOPBACK}:{self.port}={LOOPBACK}:{self._echo}"']
        mappings += [f'"{LOOPBACK}:{self._spare}={LOOPBACK}:{self._echo}"'] * random.randrange(2)  # noqa: S311
        server = f'[server]\nbind_addr = "{LOOPBACK}:{self._bind}"\n{common}ports = [{", ".join(mappings)}]\n'
        server += f"channel_size = {random.randrange(500, 600)}\nheartbeat = {random.randrange(5, 50)}\n"  # noqa: S311
        if self.datagrams:
            server += "accept_udp = true\n"
        if self._transport.startswith("wss"):
            server += 'tls_cert = "{}"\ntls_key = "{}"\n'.format(*self._tls)
        client = f'[client]\nremote_addr = "{LOOPBACK}:{self._bind}"\n{common}retry_interval = 1\n'
        client += f"connection_pool = {random.randrange(4, 12)}\n"  # noqa: S311
        for file, text in zip(self._files, (server, client), strict=True):
            new = file.with_suffix(".new")  # like an editor
            new.write_text(text)
            new.replace(file)


def _from(first: str) -> Iterator[str]:
    """Yield transports in turn, forever; streams have no udp."""
    names = TRANSPORTS if first == "udp" else tuple(name for name in TRANSPORTS if name != "udp")
    place = names.index(first)
    return itertools.cycle((*names[place:], *names[:place]))


async def new_connections(tunnel: Tunnel) -> None:
    """Connect, ask and disconnect, again and again."""
    while True:
        await tunnel.tally.tried("new connection", lambda: _ask_once(tunnel.port))
        await asyncio.sleep(0.03)


async def one_connection(tunnel: Tunnel) -> None:
    """Ask on one connection, which must survive every reload."""
    reader, writer = await asyncio.open_connection(LOOPBACK, tunnel.port)
    while True:
        await tunnel.tally.tried("long connection", lambda: _ask(reader, writer))
        await asyncio.sleep(0.1)


async def datagrams(tunnel: Tunnel) -> None:
    """Ask by datagrams; each question is repeated as a resolver would, because a loss need not be a reload's."""
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((LOOPBACK, tunnel.port))
        while True:
            await tunnel.tally.tried("datagram", lambda: _ask_datagram(loop, sock))
            await asyncio.sleep(0.03)


async def _ask_once(port: int) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        await _ask(reader, writer)
    finally:
        writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    question = os.urandom(500)
    writer.write(question)
    if await reader.readexactly(len(question)) != question:
        raise ValueError("another answer")


async def _ask_datagram(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    question = os.urandom(500)
    while True:
        await loop.sock_sendall(sock, question)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while await loop.sock_recv(sock, 600) != question:
                    pass
                return


def _usage(process: Program) -> tuple[int, int]:
    """Return the bytes of memory and the number of descriptors."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


async def soak(tunnels: list[Tunnel], seconds: float) -> bool:
    """Run the traffic and rewrite the files; print the results and return whether all is well."""
    load = [asyncio.ensure_future(kind(tunnel)) for tunnel in tunnels for kind in _kinds(tunnel)]
    begun = time.monotonic()
    before: dict[Program, tuple[int, int]] = {}
    second = 0
    while time.monotonic() - begun < seconds:
        await asyncio.sleep(1)
        second += 1
        for tunnel in tunnels:
            tunnel.rewrite(second)
        if not before and time.monotonic() - begun > WARM_UP:
            before = {end: _usage(end) for tunnel in tunnels for end in tunnel.ends}
    for task in load:
        task.cancel()
    results = await asyncio.gather(*load, return_exceptions=True)
    crashed = [result for result in results if not isinstance(result, asyncio.CancelledError)]
    for crash in crashed:
        print(f"a load has ended: {crash!r}")
    await asyncio.sleep(5)  # late closes finish
    unwell = [tunnel for tunnel in tunnels if not _well(tunnel, before)]
    return not unwell and not crashed


def _kinds(tunnel: Tunnel) -> list[Callable[[Tunnel], Awaitable[None]]]:
    return [datagrams] if tunnel.datagrams else [new_connections, one_connection]


def _well(tunnel: Tunnel, before: dict[Program, tuple[int, int]]) -> bool:
    tally, well = tunnel.tally, not tunnel.tally.failures
    print(f"{tunnel.name:7} {tally.requests} requests, {len(tally.failures)} failed, slowest {tally.slowest:.2f} s")
    for line in tally.failures[:5]:
        print(f"        {line}")
    for end in tunnel.ends:
        end.check_alive()
        (memory, descriptors), (memory_now, descriptors_now) = before.get(end, (0, 0)), _usage(end)
        print(f"        {end.name}: {memory / 1e6:.1f} -> {memory_now / 1e6:.1f} MB, "
              f"{descriptors} -> {descriptors_now} descriptors")  # fmt: skip
        if before:
            well &= memory_now - memory < GROWTH
    return well


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser("python -m bench.scenarios.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--transport", default=",".join(TRANSPORTS))
    options = parser.parse_args()
    raise_file_limit()
    try:
        with tempfile.TemporaryDirectory() as folder, Programs(Path(folder)) as programs:
            echo, tls = start_services(programs)["echo"], make_certificate(programs.directory)
            tunnels = [Tunnel(name, programs, echo, tls) for name in options.transport.split(",")]
            for tunnel in tunnels:
                tunnel.await_start()
            return 0 if asyncio.run(soak(tunnels, options.minutes * 60)) else 1
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
