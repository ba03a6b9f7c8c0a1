"""Many users on one session, one of whom does not read: the effect on the others, and the bytes held for that one."""

import asyncio
import contextlib
import socket

import pytest
from tests.support.middlebox import Line
from tests.support.mux import links_of
from tests.support.net import HOST, Peer, fill, free_port, ready, until
from tests.support.tunnel import Net, Tunnel

from backhaul.mux.link import Link
from backhaul.mux.sink import TunnelSink
from backhaul.wire.smux import Session

ONE_SESSION = "connection_pool = 1"
WINDOW, BUDGET = 65536, 262144  # bytes
OTHERS, SHARE = 15, bytes(4 * BUDGET)  # each of the others moves more than a window, and than the session holds


def lines(version: int) -> str:
    """Return the configuration lines of both ends. Only sessions without keys are of version 1."""
    legacy = 'security = "legacy"\n' if version == 1 else ""
    return f"{legacy}mux_version = {version}\nmux_streambuffer = {WINDOW}\nmux_recievebuffer = {BUDGET}\n"


async def start(net: Net, version: int, server: str = "") -> tuple[Tunnel, Peer, Peer]:
    """Start a tunnel whose second port leads to an echo; return it, a user of the first port, and its target."""
    listener = net.listen()
    tunnel = await net.tunnel(
        listener.port,
        await net.echo(),
        server=f"{lines(version)}mux_con = {OTHERS + 2}\n{server}",
        client=f"{lines(version)}{ONE_SESSION}",
    )
    user, target = await asyncio.gather(tunnel.user(), listener.accept())
    for end in (user, target):  # otherwise the kernel lets the buffer of an idle reader grow, and a stall may end
        end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
    await user.send(b"?")  # before the answer, the first report of the target's consumption has left, too
    await target.send(await target.receive(1))
    await user.receive(1)
    return tunnel, user, target


def the_link(tunnel: Tunnel) -> Link:
    """Return the client's end of the only session."""
    (link,) = links_of(tunnel.client)
    return link


def unread(session: Session[TunnelSink]) -> int:
    """Return how many bytes it holds for users who do not read."""
    return session.settings.receive_buffer + session.settings.window_growth - session.room


def grown(session: Session[TunnelSink]) -> int:
    """Return by how many bytes the windows of its streams have grown."""
    return session.growth.size - session.growth.left


async def visit(user: Peer) -> None:
    """Send a share, and receive all of it back."""
    _, heard = await asyncio.gather(user.send(SHARE), user.receive(len(SHARE)))
    assert heard == SHARE


async def test_version_2_stalls_only_the_user_who_does_not_read() -> None:
    async with Net("tcpmux") as net:
        tunnel, user, target = await start(net, 2)
        sent = await fill(user)
        session = the_link(tunnel).session
        assert 0 < unread(session) <= WINDOW + grown(session)
        await asyncio.gather(*[visit(await tunnel.user(1)) for _ in range(OTHERS)])
        assert the_link(tunnel).session is session
        assert 0 < unread(session) <= WINDOW + BUDGET
        user.shut_write()
        assert len(await target.receive_all()) == sent


async def test_version_2_stalls_only_one_user_even_with_a_fully_grown_window() -> None:
    async with Net("tcpmux") as net:
        bind_port, port, other_port = free_port(), free_port(), free_port()
        listener = net.listen()
        ports = [f"{HOST}:{port}={listener.port}", f"{HOST}:{other_port}={await net.echo()}"]
        await net.server(bind_port, ports, f"{lines(2)}mux_con = {OTHERS + 2}")
        client = await net.client(net.middlebox(bind_port, Line(delay=0.01)).port, f"{lines(2)}{ONE_SESSION}")
        user, target = await asyncio.gather(net.dial(port), listener.accept())
        (link,) = links_of(client)
        sending = asyncio.ensure_future(pump(user))
        heard = 0
        while grown(link.session) < BUDGET // 2:  # one stream leaves some growth for the others
            heard += len(await target.receive_some())
        await until(lambda: unread(link.session) > BUDGET // 2)
        await asyncio.gather(*[visit(await net.dial(other_port)) for _ in range(OTHERS)])
        assert BUDGET // 2 < unread(link.session) <= BUDGET + WINDOW
        sending.cancel()
        user.shut_write()
        assert heard + len(await target.receive_all()) == await sending
        assert list(links_of(client)) == [link]


async def pump(user: Peer) -> int:
    """Send until cancelled; return the number of bytes."""
    sent = 0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            sent += user.fill()
            await ready([user.sock], write=True)
    return sent


async def test_version_1_stalls_the_session_until_that_user_reads() -> None:
    async with Net("tcpmux") as net:
        tunnel, user, target = await start(net, 1)
        other = await tunnel.user(1)
        sent = await fill(user)
        session = the_link(tunnel).session
        await until(lambda: session.paused)
        user.shut_write()
        visiting = asyncio.ensure_future(visit(other))
        assert len(await target.receive_all()) == sent
        await visiting
        assert the_link(tunnel).session is session


@pytest.mark.parametrize("upload", [True, False])
@pytest.mark.parametrize("answered", [True, False])
async def test_with_version_1_new_users_go_elsewhere(*, upload: bool, answered: bool) -> None:
    """They use another session if there is one; otherwise a stalled one is better than none."""
    async with Net("tcpmux") as net:
        net.patience = {"unread": -1.0, "unsent": -1.0, "request": 0.05}  # seconds; the clock may not advance
        tunnel, user, target = await start(net, 1, "" if answered else "channel_size = 1")
        speaker, listener = (user, target) if upload else (target, user)
        sent = await fill(speaker)
        (stalled,), links = links_of(tunnel.server), tunnel.server.relay.links
        await until(lambda: stalled.sender.blocked or stalled.session.paused)
        while more := await fill(speaker):  # a busy machine may have paused before all buffers were full
            sent += more
        other = await tunnel.user(1)
        if answered:
            await visit(other)
            assert (len(links), len(stalled)) == (2, 1)
        else:
            await until(lambda: len(stalled) == 2)
        assert stalled.stalled
        speaker.shut_write()
        assert len(await listener.receive_all()) == sent
        await visit(other)
        await until(lambda: not stalled.stalled)
