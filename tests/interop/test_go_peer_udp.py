"""Datagrams between this program and the Go peer: transport udp, and accept_udp on tcp, whichever is the server."""

import asyncio

import pytest
from tests.support.datagrams import UdpPeer, repeat
from tests.support.go_peer import Case, Mixed, cases
from tests.support.net import until

LARGEST = 16378  # bytes of payload that v0.7.2's buffers hold on tcp
FLOWS_OF_THE_POOL = 8


@pytest.fixture(params=cases(("udp", "tcp")), ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Choose every transport for datagrams, and each end."""
    chosen: Case = request.param
    return chosen


async def start(mixed: Mixed, *targets: int | str) -> None:
    """Start the tunnel, and wait for its pool: the Go server drops at once what it can't carry."""
    await mixed.start(*targets, accept_udp=mixed.case.transport == "tcp")
    await mixed.peer.logs("tunnel connection open", FLOWS_OF_THE_POOL)
    if mixed.case.ours == "client" and mixed.case.transport == "tcp":
        await mixed.peer.logs("UDP on", len(targets))


async def asking(mixed: Mixed, user: UdpPeer, data: bytes) -> bytes:
    """Send until an answer arrives: datagrams before the pool is ready are lost, as between two v0.7.2."""
    await repeat(lambda: user.send(data), lambda: user.heard)
    answer, _ = user.heard.popleft()
    return answer


async def test_an_echo_of_every_size(mixed: Mixed) -> None:
    await start(mixed, mixed.net.udp_echo().port)
    user = mixed.net.udp(mixed.ports[0])
    for size in (5, 1, 1200, LARGEST):
        data = bytes([size % 256]) * size
        assert await user.ask(data) == (data if size > 1000 else b"echo:" + data)


@pytest.mark.parametrize("case", cases(("tcp",)), ids=str)
async def test_a_datagram_too_large_for_v072_costs_no_other(mixed: Mixed) -> None:
    """This program drops it on either end; the flow continues."""
    target = mixed.net.udp()
    await start(mixed, target.port)
    user = mixed.net.udp(mixed.ports[0])
    user.send(b"first")
    asked, flow = await target.receive_from()
    if mixed.case.ours == "server":
        user.send(bytes(LARGEST + 1))
        user.send(b"second")
        assert (asked, await target.receive_from()) == (b"first", (b"second", flow))
    else:
        target.send(bytes(LARGEST + 1), flow)
        target.send(b"second", flow)
        assert (asked, await user.receive()) == (b"first", b"second")


async def test_the_first_datagrams_stay_in_order(mixed: Mixed) -> None:
    await start(mixed, mixed.net.udp_echo().port)
    user = mixed.net.udp(mixed.ports[0])
    for number in range(20):
        user.send(b"%d" % number)
    assert [await user.receive() for _ in range(20)] == [b"echo:%d" % number for number in range(20)]


async def test_more_users_than_the_pool_has_tunnels(mixed: Mixed) -> None:
    await start(mixed, mixed.net.udp_echo().port)
    users = [mixed.net.udp(mixed.ports[0]) for _ in range(4 * FLOWS_OF_THE_POOL)]
    answers = await asyncio.gather(*(asking(mixed, user, b"%d" % n) for n, user in enumerate(users)))
    assert answers == [b"echo:%d" % number for number in range(len(users))]


async def test_several_targets(mixed: Mixed) -> None:
    targets = [mixed.net.udp(), mixed.net.udp()]
    await start(mixed, targets[0].port, f"localhost:{targets[1].port}")
    for port, target in zip(mixed.ports, targets, strict=True):
        user = mixed.net.udp(port)
        user.send(b"question")
        asked, address = await target.receive_from()
        target.send(b"answer", address)
        assert (asked, await user.receive()) == (b"question", b"answer")


async def test_many_datagrams_without_congestion(mixed: Mixed) -> None:
    """The Go server trusts the timestamps of the client; both have the same clock here."""
    await start(mixed, mixed.net.udp_echo().port)
    user = mixed.net.udp(mixed.ports[0])
    for number in range(300):
        assert await user.ask(b"%d" % number) == b"echo:%d" % number
    assert mixed.peer.count("congestion") < 30  # wrong timestamps would make all of them late, a busy machine only some


async def test_flows_start_again_when_the_peer_returns(mixed: Mixed) -> None:
    await start(mixed, mixed.net.udp_echo().port)
    assert await mixed.net.udp(mixed.ports[0]).ask(b"before") == b"echo:before"
    mixed.peer.kill()
    await until(lambda: not mixed.ours.tunnel.connected)
    await mixed.start_peer()
    await mixed.connected(2)
    assert await asking(mixed, mixed.net.udp(mixed.ports[0]), b"after") == b"echo:after"


@pytest.mark.parametrize("case", cases(("tcp",)), ids=str)
async def test_streams_pass_beside_datagrams(mixed: Mixed) -> None:
    target = await mixed.net.echo()
    mixed.net.udp_echo(port=target)
    await start(mixed, target)
    user, sender = await mixed.user(), mixed.net.udp(mixed.ports[0])
    await user.send(b"stream")
    assert await sender.ask(b"datagram") == b"echo:datagram"
    assert await user.receive(6) == b"stream"
