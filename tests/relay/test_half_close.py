"""The rule of half-closed connections, in random orders of events, by a model of a relay that moves bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.relay.half_close import BOTH_UNDERSTAND, FAR_DOES_NOT, NEAR_DOES_NOT, OPEN, Action, Event, Side, Table

TABLES = {"both": BOTH_UNDERSTAND, "far": FAR_DOES_NOT, "near": NEAR_DOES_NOT}
OTHER = {Side.USER: Side.TARGET, Side.TARGET: Side.USER}
MOVES = st.lists(st.tuples(st.sampled_from(["send", "end", "drain", "silence"]), st.sampled_from(Side)), max_size=30)


@dataclass
class Way:
    """One direction: bytes that its source sends, that wait for its sink, and that reach it."""

    sent: int = 0
    waiting: int = 0
    ended: bool = False
    held: bool = False
    told: int = 0


@dataclass
class Model:
    """A minimal relay, which follows the table."""

    table: Table
    state = OPEN
    ways: dict[Side, Way] = field(default_factory=lambda: {side: Way() for side in Side})
    closes: int = 0

    def play(self, move: str, side: Side) -> None:
        """Do something to a direction, if it is still possible."""
        if not self.closes:
            getattr(self, move)(side)

    def send(self, side: Side) -> None:
        way = self.ways[side]
        if not way.ended:
            way.sent += 1
            way.waiting += 1

    def end(self, side: Side) -> None:
        way = self.ways[side]
        if not way.ended:
            way.ended = True
            self.happen(side, Event.ENDED if way.waiting else Event.OVER)

    def drain(self, side: Side) -> None:
        way = self.ways[side]
        if way.waiting:
            way.waiting = 0
            if way.ended:
                self.happen(side, Event.OVER)

    def silence(self, side: Side) -> None:
        self.happen(side, Event.SILENT)

    def happen(self, side: Side, event: Event) -> None:
        self.state, action = self.table[self.state, side, event]
        way = self.ways[side]
        if action is Action.TELL:
            assert way.ended
            assert not way.waiting, "the end has overtaken bytes"
            way.told += 1
        way.held = action is Action.HOLD or (way.held and not way.told)
        self.closes += action is Action.CLOSE


def played(table: Table, moves: list[tuple[str, Side]]) -> Iterator[Model]:
    """Play the moves one by one; yield the model after each."""
    model = Model(table)
    for move in moves:
        model.play(*move)
        yield model


def over(model: Model, side: Side) -> bool:
    return model.ways[side].ended and not model.ways[side].waiting


@pytest.mark.parametrize("table", TABLES)
@given(moves=MOVES)
def test_an_end_is_told_once_and_after_all_bytes(table: str, moves: list[tuple[str, Side]]) -> None:
    for model in played(TABLES[table], moves):
        assert all(way.told <= 1 for way in model.ways.values())


@pytest.mark.parametrize("table", TABLES)
@given(moves=MOVES)
def test_a_connection_over_both_ways_is_closed_once(table: str, moves: list[tuple[str, Side]]) -> None:
    model = Model(TABLES[table])
    for move in moves:
        model.play(*move)
    for side in Side:
        model.play("end", side)
        model.play("drain", side)
    assert model.closes == 1


@given(moves=MOVES)
def test_nothing_is_lost_between_peers_that_understand(moves: list[tuple[str, Side]]) -> None:
    """The connection is closed with the last byte of both directions, and each end is passed on at once."""
    for model in played(BOTH_UNDERSTAND, moves):
        assert bool(model.closes) is all(over(model, side) for side in Side)
        for side in Side:
            assert model.closes or bool(model.ways[side].told) is over(model, side)


@given(moves=MOVES)
def test_for_a_v072_client_the_users_end_waits_and_the_targets_closes(moves: list[tuple[str, Side]]) -> None:
    model, quiet = Model(FAR_DOES_NOT), False
    for move, side in moves:
        model.play(move, side)
        quiet = quiet or (move == "silence" and side is Side.USER and over(model, Side.USER))
        user, target = model.ways[Side.USER], model.ways[Side.TARGET]
        assert bool(model.closes) is over(model, Side.TARGET), "the answer is complete then, and not before"
        assert not target.told
        if not model.closes:
            assert bool(user.told) is quiet
            assert user.held is (over(model, Side.USER) and not quiet)


@given(moves=MOVES)
def test_for_a_v072_server_any_end_closes_both_directions(moves: list[tuple[str, Side]]) -> None:
    for model in played(NEAR_DOES_NOT, moves):
        assert bool(model.closes) is any(over(model, side) for side in Side)
        assert not any(way.told or way.held for way in model.ways.values())


@given(moves=MOVES, switches=st.lists(st.sampled_from(sorted(TABLES)), min_size=30, max_size=30))
def test_the_peers_understanding_may_become_known_later(moves: list[tuple[str, Side]], switches: list[str]) -> None:
    model = Model(BOTH_UNDERSTAND)
    for move, table in zip(moves, switches, strict=False):
        model.table = TABLES[table]
        model.play(*move)
        assert all(way.told <= 1 for way in model.ways.values())
        assert model.closes or not all(over(model, side) for side in Side)


@pytest.mark.parametrize("table", TABLES)
@given(moves=MOVES)
def test_repeated_events_change_nothing(table: str, moves: list[tuple[str, Side]]) -> None:
    for model in played(TABLES[table], moves):
        for side in model.state.over:
            for event in (Event.ENDED, Event.OVER):
                assert TABLES[table][model.state, side, event] == (model.state, Action.NOTHING)
