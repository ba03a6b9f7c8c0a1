"""Further bytes that v0.7.2 receives; its log is checked for intolerable ones at the end of every test."""

import asyncio
import socket

import pytest
from tests.support.go_peer import MUX, Mixed, cases
from tests.support.mux import links_of
from tests.support.net import HOST
from tests.support.proxy import decode
from tests.support.tunnel import PROXY_PROTOCOL


@pytest.mark.parametrize("case", cases(PROXY_PROTOCOL, versions=(1,)), ids=str)
async def test_the_target_learns_the_address_of_the_user(mixed: Mixed) -> None:
    """The Go server names the tunnel's other end as the destination, this program the address of its port."""
    listener = mixed.net.listen()
    await mixed.start(listener.port, proxy_protocol=True)
    user, target = await asyncio.gather(mixed.user(), listener.accept())
    await user.send(b"hello")
    header = decode(await target.receive(28 + 5))
    assert (header.source, header.destination[0], header.rest) == (user.address, HOST, b"hello")
    if mixed.case.ours == "server":
        assert header.destination[1] == mixed.ports[0]


@pytest.mark.parametrize("case", [case for case in cases(("tcp", "udp")) if case.ours == "client"], ids=str)
async def test_the_client_adds_nothing_to_its_control_channel(mixed: Mixed) -> None:
    await mixed.start(await mixed.net.echo(), heartbeat=0.05)
    await mixed.peer.logs("round trip measured")
    await mixed.peer.logs("heartbeat", 5)
    assert "ignored 0x" not in mixed.peer.log


@pytest.mark.parametrize("case", cases(MUX), ids=str)
async def test_sessions_do_not_wait_for_acknowledgements(mixed: Mixed) -> None:
    """Nagle's algorithm would hold first requests and the ends of windows until the peer's delayed acknowledgement."""
    listener = mixed.net.listen()
    await mixed.start(listener.port)
    await asyncio.gather(mixed.user(), listener.accept())
    assert {link.conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for link in links_of(mixed.ours)} == {1}
