"""Users on slow lines, to whom the kernel still sends, and the limits that end users."""

import pytest
from tests.support.net import Listener, Peer, echo, until
from tests.support.tunnel import LEGACY, Net, Tunnel, change

from backhaul.config.limits import Limits, LimitTables
from backhaul.selection import Selection
from backhaul.state import UserState

ANSWER = bytes(1_000_000)  # the kernels of a connection within a machine take more at once
PIECE = 64  # bytes: a slow user reads less than the answer within the limit
SMALL = 1 << 14  # bytes: the receive buffer of a slow user
TRANSPORTS = ["tcp", "tcpmux", "wss"]


def answered(tunnel: Tunnel) -> list[UserState]:
    """Return the users whose whole answer the server's kernel has."""
    return [user for user in tunnel.server.users() if user.sent == len(ANSWER)]


async def slow_user(net: Net, listener: Listener, *, server: str = "", client: str = "") -> tuple[Tunnel, Peer, Peer]:
    """Return a user who has read nothing of an answer that the server's kernel has, and the target."""
    tunnel = await net.tunnel(listener.port, await net.echo(), server=server, client=client)
    user = await tunnel.user(rcvbuf=SMALL)
    target = await listener.accept()
    await target.send(ANSWER)
    await until(lambda: answered(tunnel))
    return tunnel, user, target


async def read_slowly(user: Peer, busy: Peer, other: Peer) -> int:
    """Read a little until the other one has ended, with an echo in between; return the number of bytes."""
    read = 0
    while other.silent():
        await echo(busy, b"busy")
        read += len(await user.receive(PIECE))
    return read


@pytest.mark.parametrize("lines", ["", LEGACY])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_user_who_reads_slowly_is_not_idle(transport: str, lines: str) -> None:
    async with Net(transport) as net:
        net.timings = {"expiry": 0.01}
        tunnel, slow, _ = await slow_user(net, net.listen(), server=lines, client=lines)
        idle, busy = await tunnel.user(1), await tunnel.user(1)
        await echo(idle, b"hello")
        await change(tunnel.server, limits=LimitTables(Limits(idle_timeout=1)))
        read = await read_slowly(slow, busy, idle)
        assert await slow.receive(len(ANSWER) - read)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_user_who_reads_slowly_is_not_silent_after_the_end_of_the_target(transport: str) -> None:
    async with Net(transport) as net:
        net.patience = {"sweep": 0.01}
        listener = net.listen()
        tunnel, slow, target = await slow_user(net, listener, server="half_close_timeout = 1")
        busy, _ = await tunnel.user(1), await tunnel.user(0)
        silent = await listener.accept()
        target.shut_write()
        silent.shut_write()
        await until(lambda: answered(tunnel)[0].phase == "target ended")
        await read_slowly(slow, busy, silent)
        assert answered(tunnel)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_complete_answer_survives_the_end_of_its_user(transport: str) -> None:
    """The user's direction, which the limit has cut, concerns the target alone."""
    async with Net(transport) as net:
        tunnel, user, target = await slow_user(net, net.listen())
        target.shut_write()
        await until(lambda: answered(tunnel)[0].phase == "target ended")
        assert any(tunnel.server.close_users(Selection(bind_port=tunnel.ports[0])))
        assert await user.receive_all() == ANSWER
        assert not await target.closed()
