"""A tunnel of transport udp on the public end, with a client that the test plays."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.clock import Loop

from backhaul.net.endpoints import Address
from backhaul.net.udp import Counters
from backhaul.relay.flows import Flow, FlowTable
from backhaul.relay.patience import Patience
from backhaul.relay.traffic import Meter, Traffic
from backhaul.transports.carriers.udp_dialect import Assigned, BareLine
from backhaul.transports.carriers.udp_tunnel import Tunnel
from backhaul.wire.announcements import IDLE
from backhaul.wire.datagrams import Batch

HERE, THERE = ("192.0.2.1", 1), ("192.0.2.2", 2)
MESSAGE = b"a message"
AT_ONCE, LATE = -1.0, 3600.0  # seconds


class Messages:
    """Knows one message about tunnels."""

    sizes = frozenset({len(MESSAGE)})

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        del address
        return datagram == MESSAGE


class Dialect:
    """Assigns tunnels by one datagram."""

    def assign(self, *_: object) -> Assigned:
        return Assigned(BareLine(Messages(), 7), lambda: b"assigned")


class User:
    """The near end of a flow."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def send(self, batch: Batch) -> None:
        self.heard += map(bytes, batch)

    def close(self) -> None:
        pass


@dataclass
class Stage:
    """The tunnels of one client: one with a flow, and another one that is idle."""

    name: bytes = b"name"
    patience: Patience = field(default_factory=Patience)
    sent: list[tuple[list[bytes], Address]] = field(default_factory=list)
    replaced: int = 0
    forgotten: list[Tunnel] = field(default_factory=list)
    idle: bool = True

    def __post_init__(self) -> None:
        self.dialect: Any = Dialect()
        self.user = User()
        self.counters = Counters()
        traffic = Traffic(Meter(), Meter())
        self.flow = Flow(FlowTable(), self.user, "target", traffic, self.counters)
        self.tunnel = self.make(HERE)
        self.other = self.make(THERE)

    def make(self, address: Address) -> Tunnel:
        timekeeper: Any = SimpleNamespace(patience=self.patience)
        return Tunnel(self, timekeeper, self.name, address)

    def begin(self, *, again: bool = False) -> "Stage":
        """Assign the tunnel to the flow, which has one datagram."""
        self.flow.from_near([b"first"])
        self.tunnel.assign(self.flow, self.dialect, again=again)
        self.sent.clear()
        return self

    def send(self, *datagrams: bytes) -> list[Address]:
        """Send datagrams of the user one by one; return where the last one went."""
        for datagram in datagrams:
            self.sent.clear()
            self.tunnel.send([datagram])
        return [address for batch, address in self.sent if datagrams[-1] in batch]

    def transmit(self, batch: Batch, address: Address) -> None:
        self.sent.append(([bytes(datagram) for datagram in batch], address))

    def replace(self, flow: Flow) -> Tunnel | None:
        assert flow is self.flow
        self.replaced += 1
        if not self.idle:
            return None
        self.other.assign(flow, self.dialect, again=True)
        return self.other

    def forget(self, tunnel: Tunnel) -> None:
        self.forgotten.append(tunnel)


def hasty(name: bytes = b"name", **seconds: float) -> Stage:
    return Stage(name, Patience(**({"sign_of_life": AT_ONCE} | seconds)))  # type: ignore[arg-type]


async def test_the_assignment_is_repeated_until_it_is_confirmed() -> None:
    stage = Stage().begin()
    for data in (b"a", b"b"):
        stage.send(data)
        assert stage.sent == [([b"assigned"], HERE), ([data], HERE)]
    stage.tunnel.received([b"answer"])
    assert stage.user.heard == [b"answer"]
    stage.send(b"c")
    assert stage.sent == [([b"c"], HERE)]


async def test_v072_is_told_its_assignment_once() -> None:
    stage = Stage(name=b"").begin()
    stage.send(b"a", b"b")
    assert stage.sent == [([b"b"], HERE)]


async def test_a_message_is_no_answer() -> None:
    stage = hasty().begin()
    stage.tunnel.received([MESSAGE])
    assert stage.send(b"a") == [THERE]


async def test_a_flow_that_gets_no_sign_of_life_moves_with_all_that_was_sent() -> None:
    stage = hasty().begin()
    stage.send(b"a")
    assert stage.sent == [([b"assigned"], THERE), ([b"first", b"a"], THERE)]
    assert stage.replaced == 1


async def test_without_an_idle_tunnel_a_flow_stays() -> None:
    stage = hasty().begin()
    stage.idle = False
    assert stage.send(b"a") == [HERE]
    assert stage.replaced == 1


async def test_a_patient_flow_stays() -> None:
    stage = hasty(sign_of_life=LATE).begin()
    assert stage.send(b"a", b"b") == [HERE]
    assert not stage.replaced


@pytest.mark.parametrize("act", ["alive", "excuse"])
async def test_a_sign_of_life_or_an_excuse_begins_the_wait_again(act: str) -> None:
    stage = hasty().begin()
    stage.tunnel.alive(confirmed=False) if act == "alive" else stage.tunnel.excuse()
    assert stage.send(b"a") == [HERE]
    assert stage.send(b"b") == [THERE]


@pytest.mark.parametrize("excused", [False, True])
async def test_a_flow_moves_once(*, excused: bool) -> None:
    stage = hasty().begin(again=True)
    if excused:
        stage.tunnel.excuse()
    assert stage.send(b"a", b"b") == [HERE]


async def test_a_doubt_lets_a_flow_move_that_has_moved_before() -> None:
    stage = hasty().begin(again=True)
    stage.tunnel.doubt()
    assert stage.send(b"a") == [THERE]


async def test_a_doubt_begins_no_wait_before_the_user_sends() -> None:
    stage = hasty().begin()
    stage.tunnel.alive(confirmed=True)
    stage.tunnel.doubt()
    assert stage.send(b"a") == [HERE]


@pytest.mark.parametrize(
    ("name", "forgotten", "moves"), [(b"", AT_ONCE, True), (b"", LATE, False), (b"name", AT_ONCE, False)]
)
async def test_a_tunnel_of_v072_that_a_nat_may_have_forgotten_gets_less_time(
    name: bytes, forgotten: float, *, moves: bool
) -> None:
    stage = hasty(name, sign_of_life=LATE, forgotten=forgotten, forgotten_reply=AT_ONCE).begin()
    assert stage.send(b"a") == [THERE if moves else HERE]


@pytest.mark.parametrize(("forgotten", "moves"), [(AT_ONCE, True), (LATE, False)])
async def test_a_flow_moves_again_from_one_that_a_nat_may_have_forgotten(forgotten: float, *, moves: bool) -> None:
    stage = hasty(b"", forgotten=forgotten, forgotten_reply=AT_ONCE).begin(again=True)
    assert stage.send(b"a") == [THERE if moves else HERE]


async def test_after_an_answer_v072_gets_more_time() -> None:
    stage = hasty(b"", sign_of_life_v072=LATE).begin()
    stage.tunnel.received([b"answer"])
    assert stage.send(b"a", b"b") == [HERE]


async def test_an_unconfirmed_flow_leaves_with_all_that_was_sent() -> None:
    stage = Stage().begin()
    stage.tunnel.leave()
    assert stage.sent == [([b"assigned"], THERE), ([b"first"], THERE)]


async def test_neither_a_confirmed_flow_leaves_nor_one_that_has_ended() -> None:
    stage = Stage().begin()
    stage.tunnel.alive(confirmed=True)
    stage.tunnel.leave()
    ended = Stage().begin()
    ended.flow.close()
    ended.tunnel.leave()
    assert (stage.replaced, ended.replaced) == (0, 0)


async def test_what_is_not_confirmed_is_sent_again_to_another_address() -> None:
    stage = Stage().begin()
    stage.tunnel.address = THERE
    stage.tunnel.send_again()
    assert stage.sent == [([b"assigned"], THERE), ([b"first"], THERE)]
    stage.tunnel.alive(confirmed=True)
    stage.sent.clear()
    stage.tunnel.send_again()
    assert not stage.sent


async def test_late_datagrams_of_a_flow_that_has_ended_are_dropped() -> None:
    stage = Stage().begin()
    assert stage.tunnel.number == 7
    stage.flow.close()
    assert stage.forgotten == [stage.tunnel]
    assert stage.tunnel.number == IDLE
    stage.tunnel.received([b"late"])
    assert not stage.user.heard


async def test_a_client_that_leaves_an_address_ends_the_flow_there() -> None:
    stage = Stage().begin()
    stage.tunnel.end()
    stage.other.end()
    assert stage.flow.closed
    assert stage.forgotten == [stage.tunnel, stage.other]


@pytest.mark.parametrize(("patience", "silent"), [(AT_ONCE, True), (LATE, False)])
async def test_a_tunnel_without_a_sign_of_life_is_silent(patience: float, *, silent: bool) -> None:
    assert hasty(sign_of_life=patience).tunnel.silent is silent


async def test_a_sign_of_life_without_a_confirmation_confirms_nothing() -> None:
    stage = Stage().begin()
    stage.tunnel.alive(confirmed=False)
    stage.send(b"a")
    assert stage.sent == [([b"assigned"], HERE), ([b"a"], HERE)]


async def test_of_what_is_not_confirmed_only_the_last_is_kept() -> None:
    stage = Stage().begin()
    stage.send(*(b"%1000d" % number for number in range(100)))
    stage.sent.clear()
    stage.tunnel.send_again()
    (kept,) = [batch for batch, _ in stage.sent if batch != [b"assigned"]]
    assert kept[-1] == b"%1000d" % 99
    assert 8 < len(kept) < 16


async def test_a_tunnel_of_a_client_that_was_replaced_gets_little_time() -> None:
    stage = hasty(sign_of_life=LATE, replaced=AT_ONCE).begin()
    stage.tunnel.alive(confirmed=True)
    stage.tunnel.distrust()
    assert stage.send(b"a") == [THERE]


def test_a_sign_of_life_ends_the_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    tunnel = Stage(patience=Patience(sign_of_life=10.0)).tunnel
    loop.run_for(11)
    assert tunnel.silent
    tunnel.alive(confirmed=False)
    loop.run_for(9)
    assert not tunnel.silent
