"""The client's ``mark`` and ``bind_interface``, read back from its sockets."""

import contextlib
import errno
import os
import socket
from pathlib import Path

import pytest
from tests.support.inside import sockets
from tests.support.net import HOST, echo, free_port, until
from tests.support.program import Program
from tests.support.tunnel import TOKEN, Net, Tunnel, change

from backhaul.net.sockets import SocketOptions

LINES = 'mark = 0xFFFF0007\nbind_interface = "lo"\n'
STEERED, FREE = (0xFFFF0007, "lo"), (0, "")
WITHOUT_RIGHTS = ("setpriv", "--bounding-set", "-net_admin,-net_raw")


def _may_mark() -> bool:
    with socket.socket() as sock, contextlib.suppress(PermissionError):
        SocketOptions(mark=1).steer(sock)
        return True
    return False


needs_rights = pytest.mark.skipif(not _may_mark(), reason="needs CAP_NET_ADMIN")


def way_of(sock: socket.socket) -> tuple[int, str]:
    """Return the mark and the interface of a socket."""
    mark = sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) & 0xFFFFFFFF
    return mark, sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0").decode()


def ways(port: int, kind: socket.SocketKind) -> list[tuple[int, str]]:
    """Return the way of each socket of this process that is connected to ``port``."""
    return [way_of(sock) for sock in sockets(kind) if port_of_peer(sock) == port]


def port_of_peer(sock: socket.socket) -> int:
    """Return 0 for a socket without a peer."""
    try:
        return int(sock.getpeername()[1])
    except OSError:
        return 0


async def idle(tunnel: Tunnel) -> None:
    """Wait for a tunnel connection without a user."""
    await until(lambda: tunnel.client.tunnel.transport.idle)


@needs_rights
@pytest.mark.parametrize("transport", ["tcp", "wssmux"])
async def test_connections_to_the_server_are_steered_and_no_others(transport: str) -> None:
    async with Net(transport) as net:
        target = await net.echo()
        tunnel = await net.tunnel(target, client=LINES)
        await echo(await tunnel.user(), b"hello")
        await idle(tunnel)
        found = ways(tunnel.bind_port, socket.SOCK_STREAM)
        assert found.count(STEERED) == len(found) >= 2  # the control channel, and one that carries users
        assert ways(target, socket.SOCK_STREAM) == [FREE]


@needs_rights
async def test_tunnels_of_udp_are_steered() -> None:
    async with Net("udp") as net:
        tunnel = await net.tunnel(free_port(), client=LINES)
        await idle(tunnel)
        assert set(ways(tunnel.bind_port, socket.SOCK_STREAM)) == {STEERED}
        assert set(ways(tunnel.bind_port, socket.SOCK_DGRAM)) == {STEERED}


@needs_rights
async def test_a_reload_steers_the_next_connections(net: Net) -> None:
    tunnel = await net.tunnel(await net.echo())
    user = await tunnel.user()
    await echo(user, b"before")
    await change(tunnel.client, mark=8)
    await until(lambda: (8, "") in ways(tunnel.bind_port, socket.SOCK_STREAM) and tunnel.connected)
    await echo(user, b"after")
    await echo(await tunnel.user(), b"hello")


async def test_an_interface_that_is_missing() -> None:
    with (
        socket.socket() as sock,
        pytest.raises(OSError, match='bind_interface = "nowhere0": this machine has no') as caught,
    ):
        SocketOptions(interface="nowhere0").steer(sock)
    assert caught.value.errno == errno.ENODEV


async def test_a_missing_right_is_named_with_its_remedy(tmp_path: Path) -> None:
    file = tmp_path / "client.toml"
    lines = "mark = 7\nskip_optz = true\nretry_interval = 60"
    file.write_text(f'[client]\nremote_addr = "{HOST}:{free_port()}"\ntransport = "tcp"\ntoken = "{TOKEN}"\n{lines}\n')
    client = await Program.start("-c", file, wrapper=WITHOUT_RIGHTS if os.geteuid() == 0 else ())
    line = await client.line("can't connect")
    assert "mark = 7: not permitted without CAP_NET_ADMIN; run `backhaul service install` again, or add " in line
    await client.kill()
