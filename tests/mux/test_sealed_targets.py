"""Sessions in clear, whose streams begin with sealed targets."""

from collections.abc import AsyncIterator, Callable

import pytest
from tests.support.net import until, until_reset
from tests.support.sealed import SealedTunnel, sealed_tunnel
from tests.support.tunnel import Net

from backhaul.mux.sink import NOBODY
from backhaul.relay.outcome import Ending
from backhaul.security.records import TAG_SIZE
from backhaul.transports.carriers.mux_client import MAX_UNADDRESSED
from backhaul.wire.smux import HEADER_SIZE, Settings, State
from backhaul.wire.smux.frames import HEADER

TARGET = "secret.example:80"


@pytest.fixture(params=[(32768, False), (5, False), (32768, True)], ids=["whole", "cut", "messages"])
async def tunnel(request: pytest.FixtureRequest, net: Net) -> AsyncIterator[SealedTunnel]:
    """Targets come in one frame, or in several, or in a message."""
    size, messages = request.param
    mux = Settings(version=2, max_frame=size)
    async with sealed_tunnel(net, payload=False, messages=messages, mux=mux) as tunnel:
        yield tunnel


async def test_the_target_is_not_on_the_line_and_payload_is(tunnel: SealedTunnel) -> None:
    for number in range(3):
        user = await tunnel.user(f"secret.example:{number + 1}", b"abc")
        target = await tunnel.target(f"secret.example:{number + 1}")
        assert await target.receive(3) == b"abc"
        await target.send(b"def")
        assert await user.receive(3) == b"def"
    line = bytes(tunnel.down.seen + tunnel.up.seen)
    assert b"abc" in line
    assert b"def" in line
    assert b"secre" not in line


async def test_a_repeated_opening_reaches_no_target_and_ends_the_session(
    tunnel: SealedTunnel, caplog: pytest.LogCaptureFixture
) -> None:
    user = await tunnel.user()
    target = await tunnel.target()
    opening = bytes(tunnel.down.seen)
    user.close()
    target.close()
    await until(lambda: not any(map(len, tunnel.links)))
    await tunnel.down.inject(opening)
    await tunnel.over()
    assert tunnel.events.arrivals.empty()
    assert caplog.text.count("closed a session: the target of a stream can't be opened: record 3 was used already") == 1


def renumber(frame: bytes) -> bytes:
    """Move a stream to another number, all of its frames alike."""
    version, command, length, stream = HEADER.unpack_from(frame)
    return HEADER.pack(version, command, length, stream + 2) + frame[HEADER_SIZE:]


def flip(at: int) -> Callable[[bytes], bytes]:
    """Return what alters a byte of the first payload."""
    at += HEADER_SIZE
    return lambda frame: frame[:at] + bytes([frame[at] ^ 4]) + frame[at + 1 :] if len(frame) > at else frame


@pytest.mark.parametrize(
    "alter",
    [renumber, flip(0), flip(1), flip(2), flip(2 + len(TARGET)), flip(1 + len(TARGET) + TAG_SIZE)],
    ids=["number", "longer than any", "length", "first byte", "tag", "last byte"],
)
async def test_an_altered_target_ends_the_session(
    net: Net, alter: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async with sealed_tunnel(net, payload=False) as tunnel:
        tunnel.down.change = lambda _number, frame: [alter(frame)]
        user = await tunnel.user(TARGET, b"early")
        await until_reset(user)
        await tunnel.over()
        assert tunnel.events.arrivals.empty()
        assert [outcome.ending for outcome in tunnel.ends] == [Ending.LOST]
        assert caplog.text.count("closed a session: the target of a stream can't be opened: ") == 1


async def test_a_stream_whose_target_is_lost_costs_no_other_stream(net: Net) -> None:
    async with sealed_tunnel(net, payload=False) as tunnel:
        tunnel.down.change = lambda number, frame: [frame] if number != 1 else []
        await tunnel.user("lost:1")
        await tunnel.user()
        await tunnel.target()
        assert len(tunnel.links) == 2


async def test_streams_refused_before_their_targets_cost_no_other_stream(net: Net) -> None:
    async with sealed_tunnel(net, payload=False) as tunnel:
        link, count, frames = tunnel.links[0], 2 * MAX_UNADDRESSED, []

        def at_once(number: int, frame: bytes) -> list[bytes]:
            frames.append(frame)
            return [] if number < 2 * count - 1 else [b"".join(frames)] if number < 2 * count else [frame]

        tunnel.down.change = at_once
        streams = [link.session.open() for _ in range(count)]
        for stream in streams:
            stream.sink = NOBODY
            link.targets.announce(stream, b"many:1")
        link.flush()
        await until(lambda: any(stream.state is State.HALF_CLOSED_REMOTE for stream in streams))
        await tunnel.user("last:1")
        while (await tunnel.events.arrivals.get()).target != "last:1":
            pass
        assert len(tunnel.links) == 2
