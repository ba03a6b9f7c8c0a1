"""Items by network, compared with a simple model."""

from hypothesis import given
from hypothesis import strategies as st

from backhaul.transports.gates.crowd import Crowd, FairQueue

STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans()), max_size=60)


@given(STEPS)
def test_a_crowd_knows_the_oldest_of_the_largest(steps: list[tuple[str, int, bool]]) -> None:
    crowd: Crowd[tuple[str, int]] = Crowd()
    model: dict[str, list[int]] = {}
    for network, number, add in steps:
        members = model.setdefault(network, [])
        if add and number not in members:
            crowd.add(network, (network, number))
            members.append(number)
        elif not add:
            crowd.discard(network, (network, number))
            if number in members:
                members.remove(number)
        assert len(crowd) == sum(map(len, model.values()))
        assert crowd.size(network) == len(members)
        assert sorted(crowd) == sorted((name, item) for name, items in model.items() for item in items)
        if members:
            assert crowd.oldest_of(network) == (network, members[0])
        if crowd:
            largest = max(map(len, model.values()))
            assert crowd.oldest_of_largest() in [(name, m[0]) for name, m in model.items() if len(m) == largest]


def test_networks_take_turns_in_a_queue_and_the_newest_item_is_next() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        queue.add(item[0], item)
    queue.discard("a", "a3")
    queue.discard("c", "c9")
    order = []
    while queue:
        order.append(queue.pop())
    assert order == ["c1", "b2", "a4", "b1", "a2", "a1"]
