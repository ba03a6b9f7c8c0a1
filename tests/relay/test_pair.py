"""Two joined sockets: stalls, ends, silence, and the pipes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from tests.support.net import Peer, fill, until, until_reset
from tests.support.tunnel import Net

from backhaul.net.pollers import make_poller
from backhaul.net.predicates import has_error
from backhaul.relay.direction import COPY_SIZE
from backhaul.relay.engine import Relay, splice_available
from backhaul.relay.outcome import Ending, Outcome, Progress
from backhaul.relay.pair import End, Pair, join_sockets
from backhaul.relay.patience import Patience
from backhaul.relay.traffic import Meter, Traffic

pytestmark = pytest.mark.both_loops
BULK = 8 * COPY_SIZE


@dataclass
class Bench:
    """A relay, and the outer ends of the pairs that it joins."""

    net: Net
    relay: Relay
    traffic: Traffic = field(default_factory=lambda: Traffic(Meter(), Meter()))
    endings: list[Ending] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many pairs have ended."""
        return len(self.endings)

    async def join(
        self, *, far_half_close: bool = True, near_half_close: bool = True, preface: bytes = b"", sent_before: int = 0
    ) -> "Joint":
        """Join two TCP connections."""
        user, near = await self.net.pair()
        far, target = await self.net.pair()
        pair = join_sockets(
            self.relay,
            End(near.sock, half_close=near_half_close),
            End(far.sock, half_close=far_half_close),
            self.traffic,
            preface=preface,
            sent_before=sent_before,
            done=self._done,
        )
        return Joint(pair, user, target)

    def _done(self, outcome: Outcome) -> None:
        self.endings.append(outcome.ending)


@dataclass
class Joint:
    """A pair and its outer ends."""

    pair: Pair
    user: Peer
    target: Peer


@pytest.fixture(params=[True, False], ids=["splice", "copy"])
async def bench(request: pytest.FixtureRequest, net: Net) -> AsyncIterator[Bench]:
    poller = make_poller()
    relay = Relay(poller, splicing=request.param)
    yield Bench(net, relay)
    relay.close()
    poller.close()
    assert not relay.busy
    assert relay.pipes.lent == 0


async def test_a_pair_tells_its_progress_until_it_is_closed_from_outside(bench: Bench) -> None:
    joint = await bench.join()
    await joint.user.send(b"request")
    assert await joint.target.receive(7) == b"request"
    assert joint.pair.progress() == Progress(7, 0, "open", "")
    joint.user.shut_write()
    assert await joint.target.closed()
    assert joint.pair.progress().phase == "user ended"
    joint.pair.end(Ending.CLOSED)
    await until_reset(joint.user)
    assert bench.endings == [Ending.CLOSED]


async def test_a_preface_goes_first(bench: Bench) -> None:
    joint = await bench.join(preface=b"first ")
    await joint.user.send(b"second")
    assert await joint.target.receive(12) == b"first second"


async def test_a_preface_larger_than_every_buffer(bench: Bench) -> None:
    preface = bytes(16_000_000)  # less than the limit of all backlogs together
    joint = await bench.join(preface=preface)
    await joint.user.send(b"behind")
    assert await joint.target.receive(len(preface) + 6) == preface + b"behind"


async def test_pipes_are_lent_only_while_bytes_are_in_flight(bench: Bench) -> None:
    joint = await bench.join()
    for _ in range(20):
        await joint.user.send(bytes(BULK))
        await joint.target.receive(BULK)
    await until(lambda: bench.relay.pipes.lent == 0)


async def test_a_stall_holds_one_pipe_and_the_end_follows_the_backlog(bench: Bench) -> None:
    joint = await bench.join()
    sent = await fill(joint.user)
    assert bench.relay.pipes.lent <= 1
    assert joint.pair.to_far.stalled
    joint.user.shut_write()
    assert len(await joint.target.receive_all()) == sent
    assert bench.relay.pipes.lent == 0
    assert bench.traffic.received.bytes == sent


async def test_a_stall_one_way_does_not_stop_the_other(bench: Bench) -> None:
    joint = await bench.join()
    await fill(joint.user)
    await joint.target.send(b"still talking")
    assert await joint.user.receive(13) == b"still talking"


async def test_stalls_beyond_the_number_of_pipes(bench: Bench) -> None:
    bench.relay.pipes.max_lent = 2
    joints = [await bench.join() for _ in range(4)]
    sent = [await fill(joint.user) for joint in joints]
    assert bench.relay.pipes.lent <= 2
    for joint, count in zip(joints, sent, strict=True):
        joint.user.shut_write()
        assert len(await joint.target.receive_all()) == count


async def test_closing_a_stalled_pair_gives_its_pipe_up(bench: Bench) -> None:
    joint = await bench.join()
    await fill(joint.user)
    joint.pair.close()
    joint.pair.close()
    assert (bench.relay.pipes.lent, bench.done, len(bench.relay.live)) == (0, 1, 0)


@pytest.mark.parametrize("end", ["user", "target"])
async def test_a_reset_during_a_stall(bench: Bench, end: str) -> None:
    joint = await bench.join()
    await fill(joint.user)
    getattr(joint, end).reset()
    other = joint.target if end == "user" else joint.user
    assert not await other.closed()
    await until(lambda: bench.done == 1)


async def test_the_relay_closes_all_pairs(bench: Bench) -> None:
    joint = await bench.join()
    bench.relay.close()
    assert not await joint.user.closed()
    assert not await joint.target.closed()


@pytest.mark.parametrize("side", ["user", "target"])
async def test_the_relay_lets_the_kernel_send_the_rest_of_a_direction_that_is_over(bench: Bench, side: str) -> None:
    joint = await bench.join()
    near, far = (joint.user, joint.target) if side == "user" else (joint.target, joint.user)
    await near.send(b"all of it")
    near.shut_write()
    await until(lambda: joint.pair.progress().phase == f"{side} ended")
    bench.relay.close()
    assert await far.receive_all() == b"all of it"
    assert not await near.closed()


class TestDrained:
    async def test_at_once_when_nothing_lives(self, bench: Bench) -> None:
        await bench.relay.drained(60)

    async def test_with_the_last_pair(self, bench: Bench) -> None:
        joint = await bench.join()
        drained = asyncio.ensure_future(bench.relay.drained(60))
        joint.user.close()
        joint.target.close()
        await drained
        assert not bench.relay.live

    async def test_when_patience_ends(self, bench: Bench) -> None:
        await bench.join()
        await bench.relay.drained(0.01)
        assert len(bench.relay.live) == 1


@pytest.mark.parametrize("understood", [False, True])
async def test_an_early_answer_reaches_a_user_who_still_uploads(bench: Bench, *, understood: bool) -> None:
    """If half-close is not understood, everything closes then, and the user's unread bytes make it a reset."""
    joint = await bench.join(far_half_close=understood)
    await fill(joint.user)
    joint.target.sock.send(b"413")
    joint.target.shut_write()
    assert await joint.user.receive(3) == b"413"


class Sweeps:
    """Counts how often the relay has looked at the half-closed ones."""

    count = 0

    @property
    def moved(self) -> int:
        """See Joined."""
        self.count += 1
        return self.count

    undelivered = 0

    def silent_for(self, seconds: float) -> None:
        """See Joined."""

    def close(self, *, reset: bool = False) -> None:
        """See Joined."""


class TestHalfClosed:
    @pytest.fixture(autouse=True)
    def _short(self, bench: Bench) -> None:
        bench.relay.patience = Patience(sweep=0.01, hold_back=0.03, half_close=0.06)

    @pytest.mark.parametrize("end", ["user", "target"])
    async def test_silence_resets_both_ends(self, bench: Bench, end: str) -> None:
        joint = await bench.join()
        other = joint.target if end == "user" else joint.user
        getattr(joint, end).shut_write()
        assert await other.receive_all() == b""
        with pytest.raises(ConnectionResetError):
            await getattr(joint, end).receive_all()
        await until(lambda: bench.done == 1)
        assert has_error(other.sock)

    async def test_silence_does_not_end_a_connection_open_both_ways(self, bench: Bench) -> None:
        joint, half_closed = await bench.join(), await bench.join()
        half_closed.user.shut_write()
        await until(lambda: bench.done == 1)
        assert joint.user.silent()
        assert not joint.pair.closed

    async def test_bytes_are_no_silence(self, bench: Bench) -> None:
        joint = await bench.join()
        joint.user.shut_write()
        sweeps, loop = Sweeps(), asyncio.get_running_loop()
        bench.relay.watch(sweeps)
        end = loop.time() + 0.15  # more than twice the silence that would end it
        while loop.time() < end:
            await joint.target.send(b"x")
            assert await joint.user.receive(1) == b"x"
            before = sweeps.count
            await until(lambda: sweeps.count > before)  # noqa: B023 - awaited here
        assert not joint.pair.closed
        bench.relay.forget(sweeps)


class TestHeldBack:
    """The user's end is held back from a far end that would misunderstand it."""

    async def test_until_the_answer_has_been_silent(self, bench: Bench) -> None:
        bench.relay.patience = Patience(sweep=0.01, hold_back=0.03)
        joint = await bench.join(far_half_close=False)
        await joint.user.send(b"request")
        joint.user.shut_write()
        assert await joint.target.receive(7) == b"request"
        await until(lambda: bench.relay.watched)
        assert joint.target.silent()
        assert await joint.target.receive_all() == b""
        await joint.target.send(b"late")
        assert await joint.user.receive(4) == b"late"

    async def test_not_for_long_after_an_answer(self, bench: Bench) -> None:
        bench.relay.patience = Patience(sweep=0.01, hold_back=1e9, hold_back_answered=0.03)
        asking, answered = await bench.join(far_half_close=False), await bench.join(far_half_close=False)
        for joint in (answered, asking):
            await joint.user.send(b"request")
            assert await joint.target.receive(7) == b"request"
            await joint.target.send(b"welcome")
            assert await joint.user.receive(7) == b"welcome"
        await asking.user.send(b"request")
        assert await asking.target.receive(7) == b"request"
        for joint in (asking, answered):
            joint.user.shut_write()
        assert await answered.target.receive_all() == b""
        assert asking.target.silent()

    async def test_not_when_the_user_has_sent_nothing(self, bench: Bench) -> None:
        bench.relay.patience = Patience(hold_back=1e9, hold_back_answered=1e9)
        joint = await bench.join(far_half_close=False, preface=b"PROXY")
        joint.user.close()
        assert await joint.target.receive_all() == b"PROXY"

    async def test_bytes_read_before_count_as_sent(self, bench: Bench) -> None:
        bench.relay.patience = Patience(hold_back=1e9)
        joint = await bench.join(far_half_close=False, sent_before=7)
        joint.user.shut_write()
        await until(lambda: bench.relay.watched)
        assert joint.target.silent()
        assert bench.traffic.received.bytes == 7


class TestWithoutHalfClose:
    async def test_the_targets_end_closes_both_if_half_close_is_not_understood(self, bench: Bench) -> None:
        joint = await bench.join(near_half_close=False)
        await joint.target.send(b"answer")
        joint.target.shut_write()
        assert await joint.user.receive_all() == b"answer"
        await until(lambda: bench.done == 1)


async def test_urgent_data_does_not_stop_bulk(bench: Bench) -> None:
    """The kernel splices none of it, and nothing after it."""
    joint = await bench.join()
    sent = await fill(joint.user)
    await joint.target.receive(sent)
    await joint.user.send(bytes(BULK))
    joint.user.sock.send(b"!", socket.MSG_OOB)
    joint.user.sock.send(b"later")
    assert (await joint.target.receive(BULK + 5)).endswith(b"later")


def test_the_administrator_can_switch_splice_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKHAUL_NO_SPLICE", raising=False)
    assert splice_available()
    monkeypatch.setenv("BACKHAUL_NO_SPLICE", "1")
    assert not splice_available()
