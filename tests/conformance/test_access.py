"""The end of each user, as the server reports it for the access log."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.support.datagrams import UdpNet
from tests.support.net import HOST, Peer, until
from tests.support.public import Public
from tests.support.tunnel import Net

from backhaul.selection import Selection

if TYPE_CHECKING:
    from backhaul.reports import UserEnd


async def test_the_end_of_a_user(any_net: Net) -> None:
    ends: list[UserEnd] = []
    listener = any_net.listen()
    tunnel = await any_net.tunnel(listener.port)
    tunnel.server.report_to(ends.append)
    user = await tunnel.user()
    address = user.address
    await user.send(b"request")
    target = await listener.accept()
    assert await target.receive(7) == b"request"
    await target.send(b"answer")
    target.close()
    assert await user.receive_all() == b"answer"
    user.close()
    await until(lambda: ends)
    (end,) = ends
    assert (end.user, end.user_port, end.port) == (*address, f"{HOST}:{tunnel.ports[0]}")
    assert (end.target, end.client) == (str(listener.port), HOST)
    assert (end.protocol, end.received, end.sent, end.ending) == ("tcp", 7, 6, "target")
    assert end.seconds >= 0


@pytest.mark.parametrize(("leave", "ending"), [(Peer.close, "user"), (Peer.reset, "user_reset")])
async def test_the_words_for_users_who_leave(net: Net, leave: Callable[[Peer], None], ending: str) -> None:
    ends: list[UserEnd] = []
    tunnel = await net.tunnel(await net.echo())
    tunnel.server.report_to(ends.append)
    user = await tunnel.user()
    await user.send(b"x")
    await user.receive(1)
    leave(user)
    await until(lambda: ends)
    assert [end.ending for end in ends] == [ending]


async def test_a_user_who_was_closed(net: Net) -> None:
    ends: list[UserEnd] = []
    tunnel = await net.tunnel(await net.echo())
    tunnel.server.report_to(ends.append)
    await tunnel.user()
    await until(lambda: list(tunnel.server.users()))
    list(tunnel.server.close_users(Selection(host=HOST)))
    assert [end.ending for end in ends] == ["closed"]


@pytest.mark.timings(user_patience=0.01)
async def test_a_user_without_a_carrier(public: Public) -> None:
    ends: list[UserEnd] = []
    public.server.report_to(ends.append)
    await public.client()
    await public.user()
    await until(lambda: ends)
    assert [end.ending for end in ends] == ["not_carried"]


@pytest.mark.parametrize(("seconds", "ending"), [(0.01, "timeout"), (60, "closed")])
async def test_the_end_of_a_flow(seconds: float, ending: str) -> None:
    ends: list[UserEnd] = []
    async with UdpNet("tcp") as net:
        tunnel = await net.flows(f"{HOST}:{net.udp_echo().port}")
        tunnel.server.report_to(ends.append)
        user = net.udp(tunnel.ports[0])
        assert await user.ask(b"datagram") == b"echo:datagram"
        tunnel.server.relay.flows.bound(100, seconds)
        if ending == "closed":
            list(tunnel.server.close_users(Selection(host=HOST)))
        await until(lambda: ends)
        (end,) = ends
        assert (end.protocol, end.user, end.user_port, end.received, end.sent, end.ending) == (
            "udp",
            HOST,
            user.port,
            8,
            13,
            ending,
        )
