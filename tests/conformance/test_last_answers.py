"""A stop of one end, when a user or target has not read all of a direction that has ended."""

import random

import pytest
from tests.support.net import Listener, Peer, until
from tests.support.tunnel import Net, Tunnel

WHOLE = random.Random(4).randbytes(50_000)  # noqa: S311 - more than a reader without room holds, and less than a sender
SMALL = 4096
AT_ONCE = "shutdown_timeout = 0"

every_end = pytest.mark.parametrize("end", ["server", "client"])


async def joined(net: Net) -> tuple[Tunnel, Peer, Peer]:
    """Return a tunnel whose ends give users no time at their stop, a user, and its target; both have little room."""
    listener: Listener = net.listen(rcvbuf=SMALL)
    tunnel = await net.tunnel(listener.port, server=AT_ONCE, client=AT_ONCE)
    user = await tunnel.user(rcvbuf=SMALL)
    return tunnel, user, await listener.accept()


async def taken(tunnel: Tunnel, phase: str, *, others: int = 0) -> None:
    """Wait until the sockets of both ends have taken a direction with its end, and ``others`` bytes of the other."""
    await until(
        lambda: all(
            [(user.phase, user.sent + user.received) for user in end.users()] == [(phase, len(WHOLE) + others)]
            and not end.state().relay.unsent
            for end in (tunnel.server, tunnel.client)
        )
    )


@every_end
async def test_a_user_gets_a_whole_answer(any_net: Net, end: str) -> None:
    tunnel, user, target = await joined(any_net)
    await target.send(WHOLE)
    target.shut_write()
    await taken(tunnel, "target ended")
    await any_net.stop(getattr(tunnel, end))
    assert await user.receive_all() == WHOLE


@every_end
async def test_a_target_gets_a_whole_request(any_net: Net, end: str) -> None:
    tunnel, user, target = await joined(any_net)
    await user.send(WHOLE)
    user.shut_write()
    await taken(tunnel, "user ended")
    await any_net.stop(getattr(tunnel, end))
    assert await target.receive_all() == WHOLE


@every_end
async def test_the_other_direction_is_reset(any_net: Net, end: str) -> None:
    """No part of it is taken for the whole."""
    tunnel, user, target = await joined(any_net)
    await target.send(WHOLE)
    target.shut_write()
    await user.send(b"half a request")
    await target.receive(len(b"half a request"))
    await taken(tunnel, "target ended", others=len(b"half a request"))
    await any_net.stop(getattr(tunnel, end))
    assert not await target.closed()
    assert await user.receive_all() == WHOLE
