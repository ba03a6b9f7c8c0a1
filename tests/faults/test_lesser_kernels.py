"""Both ends on kernels that lack options, and that do not splice."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.support.datagrams import FLOWS, UdpNet, repeat
from tests.support.lesser_kernel import LESSER, available
from tests.support.net import HOST, Peer, free_port
from tests.support.program import TOKEN, Program
from tests.support.tunnel import BUILT, LINES, Net

pytestmark = pytest.mark.skipif(not available(), reason="seccomp is missing, or its numbers are unknown here")
BULK = os.urandom(3 << 20)


def write(folder: Path, transport: str, end: str, lines: str) -> Path:
    file = folder / f"{end}.toml"
    file.write_text(f'[{end}]\ntransport = "{transport}"\ntoken = "{TOKEN}"\nskip_optz = true\n{lines}\n')
    return file


async def start(net: Net, folder: Path, port: int, target: int) -> tuple[Program, Program]:
    """Start a server and a client that serve ``target`` at ``port``, and return them when the tunnel is up."""
    bind = free_port()
    lines = f'bind_addr = ":{bind}"\nports = ["{port}={HOST}:{target}"]\n{FLOWS[net.transport]}\n'
    lines += LINES[net.transport].server
    server = await Program.start("-c", write(folder, net.transport, "server", lines), wrapper=LESSER)
    await server.line("server listens on")
    lines = f'remote_addr = "{HOST}:{bind}"'
    client = await Program.start("-c", write(folder, net.transport, "client", lines), wrapper=LESSER)
    await server.line("tunnel is up")
    return server, client


async def carry(near: Peer, far: Peer) -> None:
    """Send bulk from one end to the other, and end."""
    _, received = await asyncio.gather(near.send(BULK), far.receive(len(BULK)))
    assert received == BULK


async def stop(*ends: Program) -> None:
    """Stop a server and its client, which have met nothing unforeseen."""
    for end in reversed(ends):
        end.signal(signal.SIGTERM)
        assert await end.ended() == 0
        assert "Traceback" not in end.text


@pytest.mark.parametrize("transport", BUILT)
async def test_users_are_served(transport: str, tmp_path: Path) -> None:
    async with Net(transport) as net:
        port, listener = free_port(), net.listen()
        ends = await start(net, tmp_path, port, listener.port)
        user, target = await asyncio.gather(net.dial(port), listener.accept())
        await carry(user, target)
        await carry(target, user)
        user.shut_write()
        assert await target.closed()
        await stop(*ends)


@pytest.mark.parametrize("transport", FLOWS)
async def test_datagrams_pass(transport: str, tmp_path: Path) -> None:
    async with UdpNet(transport) as net:
        port = free_port()
        ends = await start(net, tmp_path, port, net.udp_echo().port)
        user = net.udp(port)
        await repeat(lambda: user.send(b"datagram"), lambda: user.heard)
        assert await user.receive() == b"echo:datagram"
        await stop(*ends)
