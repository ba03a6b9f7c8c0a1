"""Users of random lives on two connections that serve one after the other, compared with a model.

Both ends are real, and so are the sockets of users and targets. Steps come in any order, and the kernel passes on bytes
between them or not. An end that closes cleanly gets all bytes of the other side, one that is reset gets the first
ones, and none gets any other.
"""

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.net import Peer, Sockets, until
from tests.support.sealed_carriers import KINDS, Kind, Stage

from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.relay.traffic import Meter, Traffic
from backhaul.transports.client_end import Arrival
from backhaul.transports.user import User

CARRIERS = 2
MOST = 1 << 20  # bytes of one side
SIDES = st.sampled_from(["user", "target"])
PICKS = st.integers(0, 11)  # one of those alive; how many these are depends on the kernel
OTHER = {"user": "target", "target": "user"}


class Side:
    """The socket of a user or target, its bytes, and those that it has received."""

    def __init__(self, peer: Peer, seed: str) -> None:
        self.peer = peer
        self.stream = random.Random(seed).randbytes(MOST)  # noqa: S311 - repeatable
        self.sent = 0
        self.received = b""
        self.ended = False
        self.finished = False  # the end of the other side has arrived

    def send(self, count: int) -> None:
        """Send as much as the kernel accepts."""
        with contextlib.suppress(BlockingIOError, OSError):
            self.sent += self.peer.sock.send(self.stream[self.sent : self.sent + count])

    def read(self, count: int) -> None:
        """Read what has arrived. An error is a reset."""
        with contextlib.suppress(BlockingIOError):
            piece = self.peer.sock.recv(count)
            self.received += piece
            self.finished |= not piece

    def end(self) -> None:
        """End this direction."""
        self.ended = True
        with contextlib.suppress(OSError):
            self.peer.shut_write()


class Connection:
    """A user and, once it is reached, the target."""

    def __init__(self, number: int, user: Peer) -> None:
        self.name = f"{number}"
        self.sides = {"user": Side(user, f"user {number}")}
        self.reset = False

    def reach(self, target: Peer) -> None:
        """Add the target."""
        self.sides["target"] = Side(target, f"target {self.name}")


class TwoConnections(RuleBasedStateMachine):
    @initialize(kind=st.sampled_from(KINDS))
    def start(self, kind: Kind) -> None:
        self.runner = asyncio.Runner()
        self.kind = kind
        self.alive: list[Connection] = []
        self.over: list[Connection] = []
        self.count = self.opened = 0
        self._run(self._start())

    @rule(early=st.integers(0, 20_000), ended=st.booleans())
    def arrive(self, early: int, *, ended: bool) -> None:
        self._run(self._arrive(early, ended=ended))

    @rule(reset=st.booleans())
    def refuse(self, *, reset: bool) -> None:
        if self.stage.arrivals and (arrival := self.stage.arrivals.pop(0)):
            next(one for one in self.alive if one.name == arrival.target).reset = True
            self._run(self._refuse(arrival, reset=reset))

    @rule()
    def reach(self) -> None:
        if self.stage.arrivals:
            self._run(self._reach())

    @rule(pick=PICKS, side=SIDES, count=st.integers(1, 300_000))
    def send(self, pick: int, side: str, count: int) -> None:
        if (one := self._pick(pick, side)) and not one.sides[side].ended:
            one.sides[side].send(count)
            self._settle()

    @rule(pick=PICKS, side=SIDES, count=st.integers(1, 300_000))
    def read(self, pick: int, side: str, count: int) -> None:
        if one := self._pick(pick, side):
            try:
                one.sides[side].read(count)
            except OSError:
                assert one.reset
            self._settle()

    @rule(pick=PICKS, side=SIDES)
    def end(self, pick: int, side: str) -> None:
        if one := self._pick(pick, side):
            one.sides[side].end()
            self._settle()

    @rule(pick=PICKS, side=SIDES)
    def reset(self, pick: int, side: str) -> None:
        if (one := self._pick(pick, side)) and "target" in one.sides:
            one.reset = True
            one.sides[side].peer.reset()
            self.alive.remove(one)
            self.over.append(one)
            self._settle()

    @rule(pick=PICKS)
    def finish(self, pick: int) -> None:
        if (one := self._pick(pick, "target")) and not one.reset:
            self._run(self._finish(one))

    @invariant()
    def everybody_gets_the_bytes_of_the_other_side(self) -> None:
        for one in [*self.alive, *self.over]:
            for name, side in one.sides.items():
                other = one.sides.get(OTHER[name])
                assert not side.received or other
                assert side.received == (other.stream[: len(side.received)] if other else b"")

    @invariant()
    def a_target_is_that_of_a_user_who_waits(self) -> None:
        waiting = {one.name for one in self.alive if "target" not in one.sides}
        assert {arrival.target for arrival in self.stage.arrivals if arrival} <= waiting

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self._run(self._stop())
            self.runner.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.runner.run(coroutine)

    def _settle(self) -> None:
        self._run(self._turns())

    def _pick(self, pick: int, side: str) -> Connection | None:
        choice = [one for one in self.alive if side in one.sides]
        return choice[pick % len(choice)] if choice else None

    async def _turns(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async def _start(self) -> None:
        self.sockets = Sockets()
        self.poller = make_poller()
        self.stage = Stage(self.sockets, Relay(self.poller))

    async def _arrive(self, early: int, *, ended: bool) -> None:
        stage = self.stage
        if not stage.free:
            if self.opened - len(stage.gone) >= CARRIERS:
                return
            self.opened += 1
            stage.free.append(await stage.tunnel(self.kind))
        peer, sock = await self.sockets.pair()
        self.count += 1
        one = Connection(self.count, peer)
        one.sides["user"].send(early)
        if ended:
            one.sides["user"].end()
        carrier = stage.free.pop()
        if carrier.attach(User(sock.sock, one.name, b"", Traffic(Meter(), Meter()), stage.outcomes.append)):
            self.alive.append(one)
        else:
            assert carrier in stage.gone
            self.count -= 1
            peer.close()
            sock.close()
        await self._turns()

    async def _reach(self) -> None:
        arrival = self.stage.arrivals.pop(0)
        if not arrival:
            return
        one = next(one for one in self.alive if one.name == arrival.target)
        peer, sock = await self.sockets.pair()
        one.reach(peer)
        arrival.join(sock.sock, Traffic(Meter(), Meter()), self.stage.outcomes.append)
        await self._turns()

    async def _refuse(self, arrival: Arrival, *, reset: bool) -> None:
        arrival.refuse(reset=reset)
        await self._turns()

    async def _finish(self, one: Connection) -> None:
        """End in order, and expect everything."""
        for side in one.sides.values():
            side.end()
        for side in one.sides.values():
            if not side.finished:
                side.received += await side.peer.receive_all()
        for name, side in one.sides.items():
            other = one.sides[OTHER[name]]
            assert side.received == other.stream[: other.sent]
        for side in one.sides.values():
            side.peer.close()
        self.alive.remove(one)
        self.over.append(one)

    async def _stop(self) -> None:
        stage = self.stage
        while any("target" not in one.sides and not one.reset for one in self.alive):
            await until(lambda: stage.arrivals)
            await self._reach()
        for one in [one for one in self.alive if not one.reset]:
            await self._finish(one)
        for side in [side for one in self.alive for side in one.sides.values()]:
            side.peer.close()
        await until(lambda: not stage.relay.live)
        await until(lambda: len(stage.free) + len(stage.gone) == self.opened)
        assert not stage.returning.clear()
        stage.relay.close()
        self.poller.close()
        self.sockets.close_peers()


TestTwoConnections = TwoConnections.TestCase
TestTwoConnections.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
