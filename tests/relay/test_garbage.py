"""Everything that a user or a client occupied is freed at its end, without the collector of reference cycles."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from tests.support.net import Listener, Peer, free_port, until
from tests.support.tunnel import Net, Tunnel
from tests.support.v072 import dial_control
from tests.support.web import knock, receive_answer

pytestmark = pytest.mark.both_loops


@pytest.fixture(params=["tcp", "tcpmux", "ws"])
async def net(request: pytest.FixtureRequest) -> AsyncIterator[Net]:
    """Replace the fixture of all tests: other transports have no objects of their own for a user."""
    async with Net(request.param) as net:
        yield net


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Let the collector keep its finds, run only when called, and ignore what earlier tests have left."""
    gc.collect()
    gc.freeze()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.unfreeze()
    gc.enable()


def in_cycles() -> list[str]:
    """Return the objects that only the collector would free: those of the program, and sockets."""
    gc.garbage.clear()
    gc.collect()
    found = [type(thing) for thing in gc.garbage]
    gc.garbage.clear()
    return [
        kind.__name__ for kind in found if kind.__module__.startswith("backhaul") or issubclass(kind, socket.socket)
    ]


async def talk(tunnel: Tunnel, listener: Listener) -> tuple[Peer, Peer]:
    """Return a user and its target after an exchange."""
    user, target = await asyncio.gather(tunnel.user(), listener.accept())
    await user.send(b"request")
    assert await target.receive(7) == b"request"
    await target.send(b"answer")
    assert await user.receive(6) == b"answer"
    return user, target


async def end(tunnel: Tunnel, first: Peer, second: Peer, *, reset: bool) -> None:
    """Close both ends, one after the other."""
    first.reset() if reset else first.close()
    await second.closed()
    second.close()
    await until(lambda: not tunnel.server.relay.live and not tunnel.client.relay.live)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_finished_user_leaves_no_cycles(net: Net, uncollected: None, *, reset: bool) -> None:
    listener = net.listen()
    tunnel = await net.tunnel(listener.port)
    await end(tunnel, *await talk(tunnel, listener), reset=reset)
    in_cycles()  # garbage of the tunnel's own beginning
    for _ in range(3):
        user, target = await talk(tunnel, listener)
        await end(tunnel, user, target, reset=reset)
        user, target = await talk(tunnel, listener)
        await end(tunnel, target, user, reset=reset)
    del user, target
    assert not in_cycles()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_lost_client_leaves_no_cycles(uncollected: None, *, reset: bool) -> None:
    async with Net("tcp") as net:
        server = await net.server(port := free_port())
        in_cycles()  # garbage of the server's own beginning
        for _ in range(2):
            control = await dial_control(net, port)
            control.reset() if reset else control.close()
            await until(lambda: not server.tunnel.connected)
        del control
        assert not in_cycles()


@pytest.mark.parametrize("net", ["ws"], indirect=True)
@pytest.mark.usefixtures("uncollected")
async def test_visitors_who_make_room_for_others_leave_no_cycles(net: Net) -> None:
    """With thousands of visitors the collector stopped the server for a tenth of a second at a time."""
    net.limits = replace(net.limits, visitors_per_address=1)
    port = free_port()
    await net.server(port)
    visitors = [await net.dial(port) for _ in range(3)]
    for visitor in visitors:
        await visitor.send(knock("/"))
        await receive_answer(visitor)
    for visitor in visitors[:-1]:
        await visitor.closed()
    assert in_cycles() == []
