"""Socket options, read back from the sockets of a running tunnel."""

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net

from backhaul.addresses import plain_ip
from backhaul.net import sockets
from backhaul.net.sockets import SocketOptions, listen

KEEPALIVE = 33
OPTIONS = f"nodelay = true\nkeepalive_period = {KEEPALIVE}\nmss = 1000\nso_rcvbuf = 50000\nso_sndbuf = 60000"


def tcp(sock: socket.socket, name: str) -> int:
    """Return a TCP option."""
    return sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))


def buffers(sock: socket.socket) -> tuple[int, int]:
    """Return the requested sizes, which the kernel doubles for its own overhead (socket(7))."""
    options = (socket.SO_RCVBUF, socket.SO_SNDBUF)
    received, sent = (sock.getsockopt(socket.SOL_SOCKET, option) // 2 for option in options)
    return received, sent


def kept_alive(sock: socket.socket) -> tuple[int, int, int, int]:
    on = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return on, tcp(sock, "TCP_KEEPIDLE"), tcp(sock, "TCP_KEEPINTVL"), tcp(sock, "TCP_KEEPCNT")


def connections(port: int) -> Iterator[socket.socket]:
    """Yield both ends of this process's connections to `port`, without control channels, which have a time limit."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists them is gone; a listener has no peer
            if str(link.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(link.name))) as sock:
                    inet = sock.family == socket.AF_INET
                    if inet and port in {sock.getsockname()[1], sock.getpeername()[1]} and not watched(sock):
                        yield sock


def watched(sock: socket.socket) -> bool:
    """Return whether it is a control channel."""
    return tcp(sock, "TCP_USER_TIMEOUT") > 0


class Inside:
    """The four sockets of one user, and the two of the control channel."""

    def __init__(self, server: Any, client: Any) -> None:  # noqa: ANN401 - looks into private parts
        (self._out,) = server.relay.live
        (self._in,) = client.relay.live
        self.user: socket.socket = self._out._near.sock
        self.target: socket.socket = self._in._far.sock
        self.tunnel: list[socket.socket] = [self._out._far.sock, self._in._near.sock]
        gate, door = server.tunnel._transport._gate, client.tunnel._transport._door
        self.control: list[socket.socket] = [gate._control._sock, door._control._sock]


async def look_inside(net: Net, lines: str) -> Inside:
    tunnel = await net.tunnel(await net.echo(), server=lines, client=lines)
    user = await tunnel.user()
    await user.send(b"x")
    await user.receive(1)
    await until(lambda: tunnel.server.relay.live and tunnel.client.relay.live)
    return Inside(tunnel.server, tunnel.client)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat all addresses as those of other machines."""
    monkeypatch.setattr(sockets, "local", lambda _host: False)


@pytest.mark.usefixtures("elsewhere")
async def test_the_configured_options(net: Net) -> None:
    inside = await look_inside(net, OPTIONS)
    for sock in inside.tunnel:
        assert tcp(sock, "TCP_NODELAY") == 1
        assert kept_alive(sock) == (1, 15, 20, 4)
        assert tcp(sock, "TCP_MAXSEG") <= 1000
        assert buffers(sock) == (50000, 60000)
    for sock in (inside.user, inside.target):
        assert tcp(sock, "TCP_NODELAY") == 1
        assert kept_alive(sock) == (1, KEEPALIVE, KEEPALIVE, 4)
        assert tcp(sock, "TCP_MAXSEG") > 1000
        assert buffers(sock) != (50000, 60000)


@pytest.mark.usefixtures("elsewhere")
async def test_without_options_the_system_decides(net: Net) -> None:
    inside = await look_inside(net, "")
    for sock in (*inside.tunnel, inside.user, inside.target):
        assert tcp(sock, "TCP_NODELAY") == (sock is inside.target)  # always, as in v0.7.2
        assert kept_alive(sock) == ((1, 75, 75, 4) if sock in {inside.user, inside.target} else (1, 15, 20, 4))
        assert tcp(sock, "TCP_MAXSEG") > 1360


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("period", [3, 75])
async def test_idle_tunnel_connections_are_probed_early_and_used_ones_patiently(any_net: Net, period: int) -> None:
    lines = f"keepalive_period = {period}"
    tunnel = await any_net.tunnel(await any_net.echo(), server=lines, client=f"{lines}\nconnection_pool = 1")
    await until(lambda: tunnel.server.tunnel.transport.idle)
    muxed, idle = any_net.transport.endswith("mux"), min(period, 15)
    waiting = (1, idle, 20 if muxed else min(idle, 5), 4)
    assert [kept_alive(sock) for sock in connections(tunnel.bind_port)] == [waiting] * 2
    await echo(await tunnel.user(), b"hello")
    await until(lambda: muxed or tunnel.server.tunnel.transport.idle)
    expected = {waiting: 2} if muxed else {waiting: 2, (1, idle, 20, 4): 2}
    assert Counter(kept_alive(sock) for sock in connections(tunnel.bind_port)) == expected


async def test_a_target_on_this_machine_is_not_probed(net: Net) -> None:
    inside = await look_inside(net, OPTIONS)
    assert not inside.target.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert tcp(inside.target, "TCP_NODELAY") == 1


@pytest.mark.parametrize("lines", ["", OPTIONS])
async def test_a_control_channel_notices_a_vanished_peer_within_a_minute(net: Net, lines: str) -> None:
    inside = await look_inside(net, lines)
    for sock in inside.control:
        on, idle, interval, count = kept_alive(sock)
        assert on == 1
        assert idle + interval * count < 60
        assert 0 < tcp(sock, "TCP_USER_TIMEOUT") < 60_000
        assert tcp(sock, "TCP_NODELAY") == 1


class TestListen:
    @pytest.mark.parametrize("everywhere", ["", "0.0.0.0", "::"])
    def test_all_addresses_are_those_of_both_families(self, everywhere: str) -> None:
        with listen(everywhere, free_port(), SocketOptions()) as sock:
            assert sock.family == socket.AF_INET6
            assert not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            assert not sock.getblocking()
            for host in (HOST, "::1"):
                socket.create_connection((host, sock.getsockname()[1])).close()

    def test_without_ipv6_all_addresses_are_those_of_ipv4(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
        with listen("", free_port(), SocketOptions()) as sock:
            assert sock.getsockname()[0] == "0.0.0.0"

    def test_a_single_ipv6_address_is_not_dual_stack(self) -> None:
        with listen("::1", free_port("::1"), SocketOptions()) as sock:
            assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)

    def test_a_name(self) -> None:
        with listen("localhost", free_port(), SocketOptions()) as sock:
            assert sock.getsockname()[0] in {HOST, "::1"}

    def test_a_port_in_use_leaves_nothing_open(self) -> None:
        with listen(HOST, free_port(), SocketOptions()) as sock, pytest.raises(OSError, match="in use"):
            listen(HOST, sock.getsockname()[1], SocketOptions())

    def test_an_address_of_another_machine(self) -> None:
        with pytest.raises(OSError, match="assign"):
            listen("192.0.2.1", free_port(), SocketOptions())

    def test_a_port_just_closed_can_be_opened_again(self) -> None:
        with listen(HOST, free_port(), SocketOptions()) as sock:
            host, port = sock.getsockname()
            user = socket.create_connection((host, port))
            sock.setblocking(True)
            sock.accept()[0].close()
        user.close()
        listen(host, port, SocketOptions()).close()


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ((HOST, 1), HOST),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("2001:db8::1", 1, 0, 0), "2001:db8::1"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::1"),
    ],
)
def test_plain_addresses(address: tuple[Any, ...], plain: str) -> None:
    assert plain_ip(address) == plain
