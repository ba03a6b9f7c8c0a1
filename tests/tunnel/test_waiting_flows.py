"""Flows that wait for a carrier: how many, for how long, and whose turn it is."""

import asyncio
from typing import Any

import pytest
from tests.support.clock import Loop

from backhaul.tunnel.wait_limit import WaitLimit
from backhaul.tunnel.waiting_flows import WaitingFlows

USUAL, LONGEST, MOST = 3.0, 20.0, 4


class Waiter:
    """A flow that waits."""

    def __init__(self, stage: "Stage", source: str) -> None:
        self._waiting = stage.waiting
        self.source = source
        self.since = stage.loop.now
        self.closed = False

    def close(self) -> None:
        self.closed = True
        flow: Any = self
        self._waiting.discard(flow)


class Stage:
    """Waiting flows, and those that have waited in vain."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.given_up: list[Any] = []
        wait = WaitLimit(USUAL, LONGEST, lambda: 0.0, loop.time)
        self.waiting = WaitingFlows(MOST, wait, self.given_up.append)

    def add(self, source: str) -> Any:  # noqa: ANN401 - a flow, as far as this needs one
        flow: Any = Waiter(self, source)
        self.waiting.add(flow)
        return flow


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return Stage(loop)


def test_a_flow_waits_for_the_usual_time(stage: Stage) -> None:
    flow = stage.add("a")
    stage.loop.run_for(USUAL - 0.1)
    assert not stage.given_up
    stage.loop.run_for(0.2)
    assert stage.given_up == [flow]
    assert not len(stage.waiting)
    other = stage.add("b")
    assert stage.waiting.next() is other


def test_it_waits_for_longer_while_others_get_carriers(stage: Stage) -> None:
    flow, other = stage.add("a"), stage.add("b")
    stage.loop.run_for(USUAL - 1)
    stage.waiting.served(other)
    stage.loop.run_for(USUAL - 0.1)
    assert not stage.given_up
    stage.loop.run_for(USUAL)
    assert stage.given_up == [flow]


def test_sources_take_turns(stage: Stage) -> None:
    first, second, other = stage.add("a"), stage.add("a"), stage.add("b")
    served = []
    while len(stage.waiting):
        served.append(stage.waiting.next())
        stage.waiting.served(served[-1])
    assert served == [first, other, second]


def test_one_that_has_left_gets_no_turn(stage: Stage) -> None:
    left, other = stage.add("a"), stage.add("b")
    left.close()
    assert stage.waiting.next() is other
    stage.loop.run_for(2 * USUAL)
    assert stage.given_up == [other]


@pytest.mark.parametrize(
    ("others", "source", "admitted", "closed"),
    [
        ("aaa", "a", True, []),
        ("aaaa", "a", False, []),
        ("aaaa", "b", True, [0]),
        ("aabb", "c", True, [0]),
        ("abcd", "e", False, []),
        ("aaab", "b", True, [0]),
        ("aabb", "b", False, []),
        ("baaa", "c", True, [1]),
    ],
)
def test_a_source_with_many_gives_up_a_place(
    stage: Stage, others: str, source: str, *, admitted: bool, closed: list[int]
) -> None:
    flows = [stage.add(other) for other in others]
    assert stage.waiting.admits(source) is admitted
    assert [number for number, flow in enumerate(flows) if flow.closed] == closed


def test_another_limit_counts_at_once(stage: Stage) -> None:
    stage.add("a")
    stage.waiting.limit = 1
    assert not stage.waiting.admits("a")
