"""Shares, compared with a model that counts and sorts."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from backhaul.relay.shares import Shares


@dataclass(eq=False)
class Place:
    """An item."""

    source: str


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "touch", "pass"]), st.integers(0, 50)), max_size=200))
def test_shares_agree_with_a_model(steps: list[tuple[str, int]]) -> None:
    shares: Shares[Place] = Shares()
    model: list[Place] = []  # oldest first
    turns: list[str] = []
    recent: list[str] = []  # sources by their last change of count or touch
    for action, number in steps:
        if action == "add":
            place = Place("abc"[number % 3])
            shares.add(place)
            model.append(place)
            turns += [place.source] * (place.source not in turns)
            recent = [source for source in recent if source != place.source] + [place.source]
        elif not model:
            continue
        elif action == "pass":
            shares.pass_turn(turns[0])
            turns.append(turns.pop(0))
        else:
            place = model.pop(number % len(model))
            recent = [source for source in recent if source != place.source] + [place.source]
            if action == "discard":
                shares.discard(place)
                shares.discard(place)
            else:
                shares.touch(place)
                model.append(place)
        counts = {source: sum(place.source == source for place in model) for source in "abc"}
        turns = [source for source in turns if counts[source]]
        assert len(shares) == len(model)
        assert shares.most == max(counts.values())
        assert {source: shares.count(source) for source in "abc"} == counts
        if model:
            heaviest = shares.oldest_of_most()
            assert heaviest.source == next(source for source in recent if counts[source] == shares.most)
            assert heaviest is next(place for place in model if place.source == heaviest.source)
            assert shares.next() is next(place for place in model if place.source == turns[0])
