"""This program with a recorded v0.7.2 end: transport udp, and UDP over tcp."""

import socket
import subprocess
import sys
from typing import Any

import pytest
from tests.support.datagrams import UdpNet
from tests.support.net import HOST, Peer, free_port, until
from tests.support.old_udp import (
    CHANNEL,
    HANDSHAKE,
    PING,
    RTT,
    TARGET,
    OldClient,
    behind_pings,
    idle,
    idle_tunnels,
    our_server,
)
from tests.support.protected import ProtectedClient
from tests.support.transcripts import TRANSCRIPTS
from tests.support.tunnel import LEGACY

from backhaul.errors import BackhaulError
from backhaul.security.hello import ClientHello
from backhaul.wire.datagrams import Splitter


def said(name: str, direction: str, **where: int) -> list[bytes]:
    """Return the bytes of one direction on one connection (``conn``) or one tunnel address (``flow``)."""
    ((key, number),) = where.items()
    events: list[dict[str, Any]] = TRANSCRIPTS[name]["events"]
    return [
        bytes.fromhex(event["hex"])
        for event in events
        if event.get(key) == number and event["dir"] == direction and "hex" in event
    ]


async def old_server(net: UdpNet, control: Peer) -> None:
    """Do the server's part of the handshake as v0.7.2 does."""
    assert await control.receive(len(HANDSHAKE)) == HANDSHAKE
    await control.send(HANDSHAKE + RTT)
    assert await control.receive(1) == RTT


async def test_udp_server_with_a_v072_client() -> None:
    token = said("udp", "client->server", flow=0)[0]
    pinged, target, *questions = said("udp", "server->client", flow=0)
    answers = said("udp", "client->server", flow=0)[1:]
    async with UdpNet("udp") as net:
        _, bind_port, user = await our_server(net)
        client = await OldClient.connect(net, bind_port)
        tunnel = net.udp(bind_port)
        tunnel.send(token)
        assert await tunnel.receive() == pinged == PING
        user.send(b"hello")
        heard = PING
        while heard == PING:
            heard = await tunnel.receive()
        assert heard == target == TARGET
        await client.requested()
        for question, answer in zip(questions, answers, strict=True):
            if question != b"hello":
                user.send(question)
            assert await tunnel.receive() == question
            tunnel.send(answer)
            assert await user.receive() == answer


async def test_udp_client_with_a_v072_server() -> None:
    token, *answers = said("udp", "client->server", flow=0)
    pinged, target, *questions = said("udp", "server->client", flow=0)
    async with UdpNet("udp") as net:
        echo = net.udp_echo(port=free_port(digits=4))
        listener = net.listen()
        server = net.udp(port=listener.port)
        client = await net.client(listener.port, f"{LEGACY}\nconnection_pool = 2")
        control = await listener.accept()
        await old_server(net, control)
        announced = [await server.receive_from() for _ in range(2)]
        assert [datagram for datagram, _ in announced] == [token, token]
        (_, first), (_, second) = announced
        assert first != second
        server.send(pinged, first)
        server.send(target.replace(b"7100", b"%d" % echo.port), first)
        await control.send(CHANNEL)
        for question, answer in zip(questions, answers, strict=True):
            server.send(question, first)
            heard, address = await server.receive_from()
            if heard == token:  # the requested tunnel
                assert address not in {first, second}
                heard, address = await server.receive_from()
            assert (heard, address) == (answer, first)
        assert len(client.relay.flows) == 1


async def test_tcp_server_with_a_v072_client() -> None:
    name = "tcp+accept_udp"
    recorded = b"".join(said(name, "server->client", conn=1))
    answers = said(name, "client->server", conn=1)
    async with UdpNet("tcp") as net:
        _, bind_port, user = await our_server(net)
        client = await OldClient.connect(net, bind_port)
        tunnel = await net.dial(bind_port)
        user.send(b"hello")
        first = len(recorded) - len(b"\x00\x05again")
        heard = await tunnel.receive(first)
        await client.requested()
        await tunnel.send(answers[0])
        assert await user.receive() == b"echo:hello"
        user.send(b"again")
        heard += await tunnel.receive(len(recorded) - first)
        await tunnel.send(answers[1])
        assert await user.receive() == b"echo:again"
        assert heard.hex() == recorded.hex()


async def test_tcp_client_with_a_v072_server() -> None:
    name = "tcp+accept_udp"
    first, second = said(name, "server->client", conn=1)
    recorded = b"".join(said(name, "client->server", conn=1))
    async with UdpNet("tcp") as net:
        echo = net.udp_echo(port=free_port(digits=4))
        listener = net.listen()
        await net.client(listener.port, f"{LEGACY}\nconnection_pool = 1")
        control = await listener.accept()
        await old_server(net, control)
        tunnel = await listener.accept()
        half = len(recorded) // 2
        await tunnel.send(first.replace(b"7100", b"%d" % echo.port))
        heard = await tunnel.receive(half)
        await tunnel.send(second)
        heard += await tunnel.receive(half)
        assert without_time(heard) == without_time(recorded)
        timestamps = [int.from_bytes(heard[start : start + 4]) for start in (0, half)]
        assert all(timestamp < 600_000 for timestamp in timestamps)


def without_time(stream: bytes) -> list[bytes]:
    return [bytes(datagram) for datagram in Splitter(stamped=True).feed(memoryview(stream))]


async def test_tcp_the_end_of_either_side_ends_the_flow() -> None:
    async with UdpNet("tcp") as net:
        server, bind_port, user = await our_server(net)
        await OldClient.connect(net, bind_port)
        tunnel = await net.dial(bind_port)
        user.send(b"hello")
        await tunnel.receive(1)
        tunnel.close()
        await until(lambda: not len(server.relay.flows))


async def test_tcp_a_congested_flow_is_noticed_despite_a_wrong_clock() -> None:
    """The client's clock runs an hour ahead; a datagram that is a second late counts as late nevertheless."""

    def stamped(milliseconds: int, data: bytes) -> bytes:
        return (milliseconds % 600_000).to_bytes(4) + len(data).to_bytes(2) + data

    async with UdpNet("tcp") as net:
        server, bind_port, user = await our_server(net)
        await OldClient.connect(net, bind_port)
        tunnel = await net.dial(bind_port)
        user.send(b"hello")
        await tunnel.receive(1)
        (port,) = server.tunnel.ports.open.values()
        now = 599_990 + 3_600_000
        await tunnel.send(stamped(now, b"in time"))
        assert await user.receive() == b"in time"
        await tunnel.send(stamped(now - 1_000, b"late"))
        assert await user.receive() == b"late"
        assert port.udp.congested == 1
        await tunnel.send(stamped(now + 100, b"in time again"))
        await user.receive()
        await tunnel.send(stamped(now - 1_000, b"late"))
        await user.receive()
        assert port.udp.congested == 2


async def test_udp_a_users_datagram_is_no_substitute_for_a_lost_target(caplog: pytest.LogCaptureFixture) -> None:
    async with UdpNet("udp") as net:
        listener = net.listen()
        server = net.udp(port=listener.port)
        client = await net.client(listener.port, f"{LEGACY}\nconnection_pool = 1")
        await old_server(net, await listener.accept())
        _, address = await server.receive_from()
        server.send(b"a user's secret", address)
        assert (await server.receive_from())[1] != address  # the pool replaces the useless tunnel
        assert client.tunnel.transport.idle == 1
        assert "secret" not in caplog.text


@pytest.mark.parametrize("datagram", [b"", b"s3cre", b"s3cret!", b"S3cret", PING, bytes(1200), bytes(25)])
async def test_udp_unauthenticated_datagrams_are_not_answered(datagram: bytes) -> None:
    async with UdpNet("udp") as net:
        server, bind_port, _ = await our_server(net)
        await OldClient.connect(net, bind_port)
        stranger, tunnel = net.udp(bind_port), net.udp(bind_port)
        stranger.send(datagram)
        tunnel.send(b"s3cret")
        assert await tunnel.receive() == PING
        assert idle(server) == 1
        assert not stranger.count


async def test_udp_without_a_control_channel_even_the_token_opens_nothing() -> None:
    async with UdpNet("udp") as net:
        _, bind_port, _ = await our_server(net)
        early = net.udp(bind_port)
        early.send(b"s3cret")
        await OldClient.connect(net, bind_port)
        tunnel = net.udp(bind_port)
        tunnel.send(b"s3cret")
        assert await tunnel.receive() == PING
        assert not early.count


async def test_udp_a_repeated_token_is_one_tunnel_and_never_reaches_the_user() -> None:
    async with UdpNet("udp") as net:
        server, bind_port, user = await our_server(net)
        await OldClient.connect(net, bind_port)
        tunnel = net.udp(bind_port)
        tunnel.send(b"s3cret")
        tunnel.send(b"s3cret")
        await tunnel.receive()
        assert idle(server) == 1
        user.send(b"hello")
        while await tunnel.receive() != b"hello":
            pass
        tunnel.send(b"s3cret")
        tunnel.send(b"answer")
        assert await user.receive() == b"answer"


async def test_udp_a_flow_without_a_sign_of_life_moves_to_another_tunnel_once() -> None:
    """The address of a v0.7.2 client has changed, unnoticed: its other tunnels are tried, one per silence."""
    async with UdpNet("udp") as net:
        net.patience = {"sign_of_life": -1.0, "sign_of_life_v072": -1.0}  # seconds; the clock may not advance
        server, bind_port, user = await our_server(net)
        client = await OldClient.connect(net, bind_port)
        tunnels = await idle_tunnels(net, bind_port, 3)

        user.send(b"one")
        assert [await behind_pings(tunnels[2]) for _ in range(2)] == [TARGET, b"one"]
        user.send(b"two")
        assert [await behind_pings(tunnels[1]) for _ in range(2)] == [TARGET, b"two"]
        user.send(b"three")
        assert await behind_pings(tunnels[1]) == b"three"
        await client.requested(2)
        tunnels[1].send(b"answer")
        assert await user.receive() == b"answer"
        user.send(b"four")
        assert await behind_pings(tunnels[1]) == b"four"
        user.send(b"five")
        assert [await behind_pings(tunnels[0]) for _ in range(2)] == [TARGET, b"five"]
        assert len(server.relay.flows) == 1


async def test_udp_a_target_that_has_answered_may_be_silent_for_longer() -> None:
    """A v0.7.2 client sends nothing by itself: moving the flow would change the address that the target knows."""
    async with UdpNet("udp") as net:
        net.patience = {"sign_of_life": -1.0}
        _, bind_port, user = await our_server(net)
        await OldClient.connect(net, bind_port)
        tunnels = await idle_tunnels(net, bind_port, 2)
        user.send(b"one")
        assert [await behind_pings(tunnels[1]) for _ in range(2)] == [TARGET, b"one"]
        tunnels[1].send(b"answer")
        assert await user.receive() == b"answer"
        for number in range(5):
            user.send(b"%d" % number)
            assert await behind_pings(tunnels[1]) == b"%d" % number


async def test_udp_more_tunnels_than_channel_size_are_not_kept() -> None:
    async with UdpNet("udp") as net:
        bind_port = free_port()
        server = await net.server(bind_port, ["7100"], "channel_size = 2", heartbeat=0.1)
        await OldClient.connect(net, bind_port)
        for _ in range(5):
            net.udp(bind_port).send(b"s3cret")
        transport: Any = server.tunnel.transport
        await until(lambda: transport.dropped == 3)
        assert transport.idle == 2
        newest = net.udp(bind_port)
        newest.send(b"s3cret")
        assert await newest.receive() == PING
        assert transport.idle == 2


async def test_udp_a_client_that_returns_while_its_old_control_channel_looks_alive() -> None:
    async with UdpNet("udp") as net:
        server, bind_port, user = await our_server(net)
        await OldClient.connect(net, bind_port)
        net.udp(bind_port).send(b"s3cret")
        await until(lambda: idle(server) == 1)
        await OldClient.connect(net, bind_port)
        assert idle(server) == 0
        tunnel = net.udp(bind_port)
        tunnel.send(b"s3cret")
        user.send(b"hello")
        while await tunnel.receive() != b"hello":
            pass


async def test_udp_no_tunnel_is_a_tcp_connection() -> None:
    async with UdpNet("udp") as net:
        await net.server(bind_port := free_port())
        client = await ProtectedClient.connect(await net.dial(bind_port), ClientHello("udp"))
        carrier = await net.dial(bind_port)
        await carrier.send(client.admission())
        assert await carrier.closed()
        assert client.control.peer.silent()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_udp_either_port_of_the_tunnel_may_be_taken(kind: socket.SocketKind) -> None:
    async with UdpNet("udp") as net:
        port = free_port()
        with socket.socket(type=kind) as taken:
            taken.bind((HOST, port))
            if kind == socket.SOCK_STREAM:
                taken.listen()
            with pytest.raises(BackhaulError, match="address already in use"):
                await net.server(port)


def test_udp_without_a_protected_session_loads_no_cryptography() -> None:
    carriers = "backhaul.transports.carriers"
    look = f"import sys, {carriers}.udp_server, {carriers}.udp_client; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
