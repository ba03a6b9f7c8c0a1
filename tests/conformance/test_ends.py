"""A connection ends on one side as it ended on the other, over every transport."""

import asyncio
import socket
import sys
from dataclasses import replace

import pytest
from tests.support.net import HOST, Peer, fill, free_port, until
from tests.support.tunnel import Net, Tunnel

from backhaul.net.predicates import has_error

pytestmark = pytest.mark.both_loops
ANSWER = bytes(range(256)) * 4000


_SEGMENTS_IN = 140  # bytes before tcpi_segs_in in the tcp_info of <linux/tcp.h>


def segments_received(peer: Peer) -> int:
    """Return how many packets this end has received, acknowledgements included."""
    info = peer.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SEGMENTS_IN + 4)
    return int.from_bytes(info[_SEGMENTS_IN:], sys.byteorder)


async def connect(net: Net) -> tuple[Tunnel, Peer, Peer]:
    """Return a tunnel, a user of it, and the target's end of the user's connection."""
    listener = net.listen()
    tunnel = await net.tunnel(listener.port)
    user, target = await asyncio.gather(tunnel.user(), listener.accept())
    return tunnel, user, target


async def hand_over(data: bytes, near: Peer, far: Peer) -> None:
    """Send more than the buffers along the way hold, and close; all of it and the end arrive."""

    async def say() -> None:
        await near.send(data)
        near.close()

    _, heard = await asyncio.gather(say(), far.receive_all())
    assert heard == data


async def test_a_request_that_ends_gets_its_late_answer(plane: str, any_net: Net) -> None:
    _, user, target = await connect(any_net)
    await user.send(b"request")
    user.shut_write()
    assert await target.receive_all() == b"request"
    assert user.silent()
    await hand_over(ANSWER, target, user)


async def test_a_target_that_is_done_still_receives(plane: str, any_net: Net) -> None:
    _, user, target = await connect(any_net)
    await target.send(b"that is all")
    target.shut_write()
    assert await user.receive_all() == b"that is all"
    await hand_over(ANSWER, user, target)


async def test_the_last_bytes_and_the_end_share_a_packet(any_net: Net) -> None:
    _, user, target = await connect(any_net)
    await user.send(b"request")
    assert await target.receive(7) == b"request"
    before = segments_received(user)
    target.sock.send(b"answer")  # both have arrived before either end of the tunnel looks
    target.shut_write()
    assert await user.receive_all() == b"answer"
    assert segments_received(user) == before + 1
    await hand_over(ANSWER, user, target)


@pytest.mark.parametrize("end", ["user", "target"])
async def test_a_reset_after_the_end_of_its_direction(any_net: Net, end: str) -> None:
    tunnel, user, target = await connect(any_net)
    near, far = (user, target) if end == "user" else (target, user)
    await near.send(b"that is all")
    near.shut_write()
    assert await far.receive_all() == b"that is all"
    near.reset()
    await until(lambda: has_error(far.sock))
    await until(lambda: not tunnel.server.relay.live and not tunnel.client.relay.live)


@pytest.mark.parametrize("end", ["server", "client"])
async def test_a_direction_that_stays_silent_after_the_end_of_the_other_is_reset(any_net: Net, end: str) -> None:
    any_net.patience = {"sweep": 0.02}
    tunnel, user, target = await connect(any_net)
    await user.send(b"request")
    user.shut_write()
    assert await target.receive_all() == b"request"
    relay = (tunnel.server if end == "server" else tunnel.client).relay
    relay.patience = replace(relay.patience, half_close=0.05)
    assert not await user.closed()
    await until(lambda: has_error(target.sock))


async def test_the_end_follows_the_backlog(plane: str, any_net: Net) -> None:
    _, user, target = await connect(any_net)
    sent = await fill(user)
    user.shut_write()
    assert await target.receive_all() == bytes(sent)
    await target.send(b"got it")
    target.close()
    assert await user.receive_all() == b"got it"


async def test_an_end_without_a_byte(any_net: Net) -> None:
    tunnel, user, target = await connect(any_net)
    user.close()
    assert await target.receive_all() == b""
    target.close()
    await until(lambda: not tunnel.server.relay.live and not tunnel.client.relay.live)


async def test_both_ends_close_at_once(any_net: Net) -> None:
    tunnel, user, target = await connect(any_net)
    await user.send(b"x")
    await target.receive(1)
    user.close()
    target.close()
    await until(lambda: not tunnel.server.relay.live and not tunnel.client.relay.live)


async def test_the_target_resets(plane: str, any_net: Net) -> None:
    _, user, target = await connect(any_net)
    await user.send(b"hello")
    await target.receive(5)
    target.reset()
    assert not await user.closed()


async def test_the_user_resets(plane: str, any_net: Net) -> None:
    _, user, target = await connect(any_net)
    await user.send(b"hello")
    await target.receive(5)
    user.reset()
    assert not await target.closed()


@pytest.mark.parametrize("sent", [b"", b"half a request"])
async def test_the_user_resets_before_the_tunnel_has_looked(any_net: Net, sent: bytes) -> None:
    listener = any_net.listen()
    tunnel = await any_net.tunnel(listener.port)
    user = Peer(socket.create_connection((HOST, tunnel.ports[0])))
    user.sock.send(sent)
    user.reset()
    target = await listener.accept()
    assert not await target.closed()


async def test_a_reset_of_the_target_while_the_user_does_not_read(plane: str, any_net: Net) -> None:
    _, user, target = await connect(any_net)
    await fill(target)
    target.reset()
    assert not await user.closed()


async def test_the_user_leaves_before_the_target_answers(plane: str, any_net: Net) -> None:
    tunnel, user, target = await connect(any_net)
    await user.send(b"request")
    await target.receive(7)
    user.close()
    assert await target.receive_all() == b""
    try:
        while True:  # the first bytes may leave; the answer to them is a reset
            await target.send(ANSWER)
    except OSError:
        pass
    await until(lambda: not tunnel.server.relay.live and not tunnel.client.relay.live)


async def test_a_target_that_refuses(any_net: Net) -> None:
    tunnel = await any_net.tunnel(free_port())
    user = await tunnel.user()
    assert not await user.closed()


@pytest.mark.parametrize("target", ["255.255.255.255:80", "no-such-host.invalid:80"])
async def test_a_target_without_a_way(any_net: Net, target: str, caplog: pytest.LogCaptureFixture) -> None:
    tunnel = await any_net.tunnel(target)
    assert not await (await tunnel.user()).closed()
    await until(lambda: f"target {target}: not dialled by the client: cannot be reached: " in caplog.text)
    (port,) = tunnel.server.tunnel.ports.open.values()
    await until(lambda: port.target_refused == 1)


async def test_a_user_who_leaves_before_the_target_is_reached(any_net: Net) -> None:
    listener = any_net.listen()
    tunnel = await any_net.tunnel(listener.port)
    user = await tunnel.user()
    user.close()
    target = await listener.accept()
    assert await target.receive_all() == b""


async def test_a_target_that_never_answers(any_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    silent = any_net.listen(backlog=0)
    await any_net.dial(silent.port)  # takes the only place, so the kernel ignores further connections
    bind_port, port = free_port(), free_port()
    await any_net.server(bind_port, [f"{HOST}:{port}={silent.port}"])
    await any_net.client(bind_port, dial_timeout=0.2)
    user = await any_net.dial(port)
    assert await user.closed()
    assert f"target {silent.port}: cannot be reached: connection timed out" in caplog.text


async def test_a_refused_user_does_not_affect_the_others(any_net: Net) -> None:
    tunnel = await any_net.tunnel(free_port(), await any_net.echo())
    refused, served = await tunnel.user(0), await tunnel.user(1)
    assert not await refused.closed()
    await served.send(b"still there?")
    assert await served.receive(12) == b"still there?"
