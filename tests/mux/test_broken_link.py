"""Sessions whose connection breaks, or can't be watched, at an unlikely moment."""

import socket
from collections.abc import AsyncIterator

import pytest
from tests.support.exhausted import ExhaustedPoller
from tests.support.mux import IdleOwner
from tests.support.net import echo, until
from tests.support.peers import EXTENDED
from tests.support.stage import running_relay
from tests.support.torn import Torn, sessions
from tests.support.tunnel import Net

from backhaul.mux.link import Link
from backhaul.mux.resumable_link import ResumableLink
from backhaul.mux.sink import NOBODY
from backhaul.mux.stream_channel import SmuxChannel
from backhaul.net.poller import Owner
from backhaul.net.predicates import has_error, has_input
from backhaul.relay.channel import FRAMES_AT
from backhaul.relay.engine import Relay
from backhaul.transports.carriers.resuming import Attempt
from backhaul.transports.carriers.returning import Returning
from backhaul.wire.smux import HEADER_SIZE, Role, Settings


class Losing(IdleOwner):
    """Learns why a session is lost."""

    why = ""

    def link_lost(self, link: Link, why: str) -> None:
        del link
        self.why = why


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with running_relay() as relay:
        yield relay


async def test_many_control_frames_may_show_that_the_connection_is_broken(net: Net, relay: Relay) -> None:
    (near, far), owner = await net.pair(), Losing()
    link = Link(relay, near.sock, Role.CLIENT, Settings(), owner, peer=EXTENDED)
    stream = link.session.open()
    stream.sink = NOBODY
    far.reset()
    await until(lambda: has_error(near.sock))
    link.session.control += bytes(1 << 13)
    SmuxChannel(link, stream).send_frames(1)
    assert link.closed
    assert owner.why == "broken pipe"


async def test_bytes_after_control_frames_that_meet_a_broken_connection_wait_for_another_one(net: Net) -> None:
    net.transport = "tcpmux"
    torn = await Torn.start(net, pool=1)
    user = await torn.user()
    (session,) = sessions(torn.client)
    (stream,) = session.session.streams.values()
    channel, payload = SmuxChannel(session, stream), FRAMES_AT + HEADER_SIZE
    session.conn.shutdown(socket.SHUT_WR)
    for _ in range(1 << 10):
        session.session.nop()
    channel.frames.memory[payload : payload + 5] = b"hello"
    channel.send_frames(5)
    assert session.parked
    assert await user.receive(5) == b"hello"
    await echo(user, b"again")


@pytest.mark.parametrize("ended", [True, False])
async def test_the_end_of_a_session_is_read_from_a_broken_connection(net: Net, *, ended: bool) -> None:
    """Without it the session would wait for another connection."""
    net.transport = "tcpmux"
    torn = await Torn.start(net, pool=1)
    await torn.user()
    (session,), (other,) = sessions(torn.client), sessions(torn.server)
    torn.client.relay.poller.ignore_readable(session.conn)
    if ended:
        other.end("test")
        await until(lambda: has_input(session.conn))
    session.conn.shutdown(socket.SHUT_WR)
    session.ask()
    assert (session.closed, session.parked) == (ended, not ended)


async def test_a_session_that_can_not_be_watched_ends(net: Net) -> None:
    poller, owner = ExhaustedPoller(), Losing()
    relay = Relay(poller)
    near, far = await net.pair()
    link = Link(relay, near.sock, Role.CLIENT, Settings(), owner, peer=EXTENDED)
    link.start()
    assert owner.why == "cannot allocate memory"
    await far.closed()
    relay.close()
    poller.close()


@pytest.mark.parametrize(
    ("end", "kind"),
    [("server", Returning), ("server", ResumableLink), ("client", Attempt), ("client", ResumableLink)],
)
async def test_a_session_waits_for_a_connection_that_can_be_watched(
    net: Net, end: str, kind: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pollers = list[ExhaustedPoller]()

    def short(owner: Owner | None) -> bool:
        begun = not isinstance(owner, ResumableLink) or owner.epoch > 0
        return isinstance(owner, kind) and begun and not pollers[0].refused

    def make() -> ExhaustedPoller:
        pollers.append(ExhaustedPoller(short))
        return pollers[0]

    monkeypatch.setattr(f"backhaul.{end}.make_poller", make)
    net.transport = "tcpmux"
    torn = await Torn.start(net, pool=1)
    user = await torn.user()
    await torn.cut()
    await until(lambda: pollers[0].refused)
    await echo(user, b"again")
    assert getattr(torn, end).relay.resumption.resumes == 1
    assert "internal error" not in caplog.text
