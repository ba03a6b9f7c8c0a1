"""The table of flows: the one that makes room, and the ones that have been silent too long."""

import asyncio
import math

from tests.support.net import until

from backhaul.net.udp import Counters
from backhaul.relay.flows import Flow, FlowTable
from backhaul.relay.outcome import Progress
from backhaul.relay.traffic import Meter, Traffic
from backhaul.wire.datagrams import Batch


class End:
    """An end that records its datagrams and its close."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = 0

    def send(self, batch: Batch) -> None:
        self.sent += [bytes(datagram) for datagram in batch]

    def close(self) -> None:
        self.closed += 1


class Scene:
    """A table with flows."""

    def __init__(self, limit: int = 100, timeout: float = 60) -> None:
        self.table = FlowTable(limit, timeout)
        self.counters = Counters()
        self.traffic = Traffic(Meter(), Meter())

    def flow(self, source: str = "", *, answered: bool = False) -> tuple[Flow, End]:
        near = End()
        flow = Flow(self.table, near, "7100", self.traffic, self.counters, source=source)
        if answered:
            flow.from_far([b"answer"])
        return flow, near


async def test_datagrams_wait_for_the_far_end_and_then_pass() -> None:
    scene = Scene()
    flow, near = scene.flow()
    flow.from_near([b"one", b"two"])
    assert flow.progress() == Progress(6, 0, "waiting", "")
    far = End()
    flow.attach(far)
    flow.from_near([b"three"])
    flow.from_far([b"answer"])
    assert (far.sent, near.sent) == ([b"one", b"two", b"three"], [b"answer"])
    assert (scene.traffic.received.bytes, scene.traffic.sent.bytes) == (11, 6)
    assert flow.progress() == Progress(11, 6, "open", "")
    scene.table.close()


async def test_datagrams_of_all_flows_that_wait_are_bounded_together() -> None:
    scene = Scene()
    limit = scene.table.room.limit = 1 << 20
    flows = [scene.flow()[0] for _ in range(100)]
    for flow in flows:
        for _ in range(30):
            flow.from_near([bytes(1000)] * 10)
    assert limit // 2 < scene.table.room.held <= limit + len(flows) * 2048
    far = End()
    flows[-1].attach(far)
    assert far.sent
    scene.table.close()
    assert not scene.table.room.held


async def test_another_far_end_takes_the_place_of_the_first() -> None:
    flow, _ = Scene().flow()
    first, second = End(), End()
    flow.attach(first)
    flow.attach(second)
    flow.from_near([b"x"])
    assert (first.closed, first.sent, second.closed, second.sent) == (1, [], 0, [b"x"])
    flow.close()


async def test_both_ends_are_closed_once() -> None:
    scene = Scene()
    flow, near = scene.flow()
    far = End()
    flow.attach(far)
    flow.close()
    flow.close()
    assert (near.closed, far.closed, len(scene.table), scene.counters.flows, scene.counters.total) == (1, 1, 0, 0, 1)


async def test_datagrams_that_waited_in_vain_are_counted() -> None:
    scene = Scene()
    flow, _ = scene.flow()
    flow.from_near([b"a", b"b"])
    flow.close()
    assert scene.counters.dropped == 2


async def test_the_least_recently_used_makes_room() -> None:
    scene = Scene(limit=3)
    flows = [scene.flow()[0] for _ in range(3)]
    flows[0].from_near([b"x"])
    flows[1].from_far([b"x"])
    newest, _ = scene.flow()
    assert [flow.closed for flow in (*flows, newest)] == [False, False, True, False]
    assert scene.counters.flows == len(scene.table) == 3
    scene.table.close()


async def test_a_source_that_floods_takes_places_from_itself_only() -> None:
    scene = Scene(limit=20)
    answered = [scene.flow(source, answered=True)[0] for source in ("a", "b", "flood")]
    new = [scene.flow(source)[0] for source in ("a", "b")]
    flood = [scene.flow("flood")[0] for _ in range(1000)]
    assert not any(flow.closed for flow in (*answered, *new))
    assert [flow.closed for flow in flood] == [True] * 985 + [False] * 15
    scene.table.close()


async def test_flows_without_an_answer_make_room_before_others_do() -> None:
    scene = Scene(limit=3)
    many = [scene.flow("many", answered=True)[0] for _ in range(2)]
    one, _ = scene.flow("one")
    newest, _ = scene.flow("another", answered=True)
    assert [flow.closed for flow in (*many, one, newest)] == [False, False, True, False]
    many[0].from_near([b"x"])
    last, _ = scene.flow("another")
    assert [flow.closed for flow in (*many, newest, last)] == [False, True, False, False]
    scene.table.close()


async def test_users_who_arrive_together_find_places_among_answered_flows() -> None:
    scene = Scene(limit=40)
    answered = [scene.flow(f"user {number}", answered=True)[0] for number in range(40)]
    answered[0].from_near([b"x"])
    new = [scene.flow(f"new {number}")[0] for number in range(10)]
    assert not any(flow.closed for flow in new)
    assert [flow.closed for flow in answered] == [False] + [True] * 10 + [False] * 29
    scene.table.close()


async def test_invented_sources_push_out_a_limited_number_of_answered_flows() -> None:
    scene = Scene(limit=40)
    answered = [scene.flow(f"user {number}", answered=True)[0] for number in range(40)]
    for number in range(1000):
        scene.flow(f"made up {number}")
    assert [flow.closed for flow in answered] == [True] * 11 + [False] * 29
    for _ in range(1000):
        scene.flow("one address")
    assert sum(flow.closed for flow in answered) == 11
    scene.table.close()


async def test_one_source_pushes_out_few_answered_flows() -> None:
    scene = Scene(limit=64)
    answered = [scene.flow(f"user {number}", answered=True)[0] for number in range(64)]
    for _ in range(1000):
        scene.flow("flood")
    assert sum(flow.closed for flow in answered) == 3
    scene.table.close()


async def test_silent_flows_end_and_busy_ones_stay() -> None:
    scene = Scene(timeout=0.5)
    silent = [scene.flow()[0] for _ in range(5)]
    busy, _ = scene.flow()

    def look() -> bool:
        busy.from_near([b"x"])
        return all(flow.closed for flow in silent)

    await until(look)
    assert not busy.closed
    await until(lambda: busy.closed)
    assert not len(scene.table)


async def test_a_table_that_was_empty_expires_again() -> None:
    scene = Scene(timeout=0.01)
    for _ in range(3):
        flow, _ = scene.flow()
        await until(lambda flow=flow: flow.closed)  # type: ignore[misc]


async def test_one_timer_for_all() -> None:
    scene = Scene(limit=5000)
    flow, _ = scene.flow()
    due, now = scene.table.next_sweep, asyncio.get_running_loop().time
    begun = now()
    await until(lambda: now() > begun)  # a timer of its own would be due later
    for _ in range(1000):
        scene.flow()[0].from_near([b"x"])
    flow.close()
    assert scene.table.next_sweep == due < math.inf
    scene.table.close()
    assert scene.table.next_sweep == math.inf
    assert not len(scene.table)
