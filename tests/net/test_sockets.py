"""Socket options, read back from the sockets of a running tunnel."""

import socket
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.inside import MUCH, at, ends, towards, used
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


class Facts:
    """The options of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.nodelay = tcp(sock, "TCP_NODELAY")
        self.mss = tcp(sock, "TCP_MAXSEG")
        self.time_limit = tcp(sock, "TCP_USER_TIMEOUT")  # milliseconds; a control channel has one
        self.kept_alive = kept_alive(sock)
        self.buffers = buffers(sock)


@dataclass
class Inside:
    """The four sockets of one user, and the two of the control channel."""

    user: Facts
    target: Facts
    tunnel: list[Facts]
    control: list[Facts]


async def look_inside(net: Net, lines: str) -> Inside:
    target_port = await net.echo()
    tunnel = await net.tunnel(target_port, server=lines, client=lines)
    await echo(await tunnel.user(), bytes(MUCH))
    (user,), (target,) = map(Facts, at(tunnel.ports[0])), map(Facts, towards(target_port))
    inside = Inside(user, target, [Facts(sock) for sock in used(tunnel.bind_port)], controls(tunnel.bind_port))
    assert (len(inside.tunnel), len(inside.control)) == (2, 2)
    return inside


def controls(port: int) -> list[Facts]:
    """Return both ends of the control channel."""
    return [facts for facts in map(Facts, ends(port)) if facts.time_limit]


def carriers(port: int) -> list[Facts]:
    """Return both ends of each tunnel connection."""
    return [facts for facts in map(Facts, ends(port)) if not facts.time_limit]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat all addresses as those of other machines."""
    monkeypatch.setattr(sockets, "local", lambda _host: False)


@pytest.mark.usefixtures("elsewhere")
async def test_the_configured_options(net: Net) -> None:
    inside = await look_inside(net, OPTIONS)
    for facts in inside.tunnel:
        assert facts.nodelay == 1
        assert facts.kept_alive == (1, 15, 20, 4)
        assert facts.mss <= 1000
        assert facts.buffers == (50000, 60000)
    for facts in (inside.user, inside.target):
        assert facts.nodelay == 1
        assert facts.kept_alive == (1, KEEPALIVE, KEEPALIVE, 4)
        assert facts.mss > 1000
        assert facts.buffers != (50000, 60000)


@pytest.mark.usefixtures("elsewhere")
async def test_without_options_the_system_decides(net: Net) -> None:
    inside = await look_inside(net, "")
    for facts in (*inside.tunnel, inside.user, inside.target):
        assert facts.nodelay == 1  # whatever v0.7.2 does: no user waits for a delayed acknowledgement
        assert facts.kept_alive == ((1, 15, 20, 4) if facts in inside.tunnel else (1, 75, 75, 4))
        assert facts.mss > 1360


@pytest.mark.parametrize("transport", ["tcp", "ws", "wss", "tcpmux", "wsmux", "wssmux"])
@pytest.mark.parametrize("lines", ['security = "required"', 'security = "required"\nencryption = true'])
async def test_a_user_never_waits_for_an_acknowledgement_of_the_user_before(transport: str, lines: str) -> None:
    """Nagle's algorithm would hold the target until the other end acknowledges the end of the user before."""
    async with Net(transport) as net:
        tunnel = await net.tunnel(await net.echo(), server=lines, client=lines)
        await echo(await tunnel.user(), bytes(MUCH))
        assert [tcp(sock, "TCP_NODELAY") for sock in used(tunnel.bind_port)] == [1, 1]


@pytest.mark.parametrize(("lines", "nodelay"), [("", 0), ("nodelay = true", 1)])
async def test_connections_of_v072_have_what_the_file_says(net: Net, lines: str, nodelay: int) -> None:
    inside = await look_inside(net, f'security = "legacy"\n{lines}')
    assert [facts.nodelay for facts in (*inside.tunnel, inside.user, inside.target)] == [nodelay, nodelay, 1, 1]


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("period", [3, 75])
async def test_idle_tunnel_connections_are_probed_early_and_used_ones_later(any_net: Net, period: int) -> None:
    lines = f"keepalive_period = {period}"
    tunnel = await any_net.tunnel(await any_net.echo(), server=lines, client=f"{lines}\nconnection_pool = 1")
    await until(lambda: tunnel.server.tunnel.transport.idle)
    muxed, idle = any_net.transport.endswith("mux"), min(period, 15)
    waiting = (1, idle, 20 if muxed else min(idle, 5), 4)
    assert [facts.kept_alive for facts in carriers(tunnel.bind_port)] == [waiting] * 2
    await echo(await tunnel.user(), b"hello")
    expected = {waiting: 2} if muxed else {(1, idle, 20, 4): 2}
    assert Counter(facts.kept_alive for facts in carriers(tunnel.bind_port)) == expected


async def test_a_target_on_this_machine_is_not_probed(net: Net) -> None:
    inside = await look_inside(net, OPTIONS)
    assert not inside.target.kept_alive[0]
    assert inside.target.nodelay == 1


@pytest.mark.parametrize("lines", ["", OPTIONS])
async def test_a_control_channel_notices_a_vanished_peer_within_a_minute(net: Net, lines: str) -> None:
    inside = await look_inside(net, lines)
    for facts in inside.control:
        on, idle, interval, count = facts.kept_alive
        assert on == 1
        assert idle + interval * count < 60
        assert 0 < facts.time_limit < 60_000
        assert facts.nodelay == 1


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
