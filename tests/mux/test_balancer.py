"""The least loaded of many sessions."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backhaul.mux.balancer import Balancer


class Session:
    """The part of a link that matters here."""

    def __init__(self) -> None:
        self.load = 0
        self.stalled = False
        self.proven = True


EVENTS = st.tuples(st.integers(0, 9), st.integers(-1, 12), st.booleans(), st.booleans())


@given(st.lists(EVENTS))
def test_the_balancer_agrees_with_the_sessions(events: list[tuple[int, int, bool, bool]]) -> None:
    loads, sessions = Balancer(), [Session() for _ in range(10)]
    known: set[Any] = set()
    for number, streams, stalled, proven in events:
        session: Any = sessions[number]
        if streams < 0:
            loads.discard(session)
            known.discard(session)
            session.proven = False  # the next one of this number
        elif session in known:
            moves_again = session.stalled and not stalled
            session.load, session.stalled, session.proven = streams, stalled, session.proven or proven
            assert loads.update(session) is moves_again
        else:
            session.load, session.stalled, session.proven = streams, stalled, proven
            assert not loads.update(session)  # an absent one stays absent
            assert session not in loads
            loads.add(session)
            known.add(session)
    assert set(loads) == known
    assert len(loads) == len(known)
    assert loads.unproven == sum(not session.proven for session in known)
    moving = [session for session in known if not session.stalled]  # the others get no users
    assert loads.idle == sum(not session.load for session in moving)
    places = sum(max(0, 8 - session.load) for session in moving)
    assert loads.has_room(places, 8)
    assert not loads.has_room(places + 1, 8)
    agree_on_the_choice(loads, moving)
    dispensable: Any = loads.last_choice()
    assert (dispensable is not None) == any(not session.load and not session.proven for session in moving)
    assert dispensable is None or (dispensable.load, dispensable.proven) == (0, False)


def agree_on_the_choice(loads: Balancer, moving: list[Any]) -> None:
    """Check the choice for the next user with a limit of 8 streams."""
    proven, others = ([s.load for s in moving if s.proven is kind and s.load < 8] for kind in (True, False))
    choice: Any = loads.choose(8)
    trial = not any(session.load for session in moving if not session.proven)
    if not proven or (others and trial and min(proven)):
        expected = (min(others), False) if others else None
    else:
        expected = (min(proven), True)
    assert (None if choice is None else (choice.load, choice.proven)) == expected


def unproven(count: int) -> tuple[Balancer, list[Any]]:
    loads, sessions = Balancer(), [Session() for _ in range(count)]
    as_links: list[Any] = list(sessions)
    for link in as_links:
        link.proven = False
        loads.add(link)
    return loads, as_links


def as_link(session: Any) -> Any:  # noqa: ANN401 - a session in the place of a link
    return session


def load(loads: Balancer, link: Any, streams: int) -> None:  # noqa: ANN401 - a session in the place of a link
    link.load = streams
    loads.update(link)


def test_while_none_is_proven_users_are_spread_and_do_not_wait_for_each_other() -> None:
    loads, links = unproven(3)
    chosen = set()
    for _ in range(3):
        link: Any = loads.choose(8)
        chosen.add(link)
        load(loads, link, 1)
    assert chosen == set(links)
    assert not loads.trying


def test_after_the_first_proof_the_others_are_tried_by_one_user_at_a_time() -> None:
    loads, links = unproven(1000)
    honest = links[500]
    honest.proven = True
    load(loads, honest, 1)
    tried: Any = loads.choose(8)
    assert not tried.proven
    load(loads, tried, 1)
    for streams in range(1, 8):
        assert loads.choose(8) is honest
        load(loads, honest, streams + 1)
    assert loads.trying
    assert loads.choose(8) is not None  # better than a wait
    load(loads, honest, 3)
    load(loads, tried, 0)
    another: Any = loads.choose(8)
    assert not another.proven
    assert another is not tried  # the user got no answer


def test_the_newest_is_tried_first_and_the_oldest_closed_first() -> None:
    loads, links = unproven(3)
    assert loads.choose(8) is links[2]
    assert loads.last_choice() is links[0]


def test_unused_sessions_are_those_without_users_since_the_last_look() -> None:
    loads, sessions = Balancer(), [Session() for _ in range(4)]
    as_links: list[Any] = list(sessions)
    assert loads.unused() == []
    for link in as_links:
        loads.add(link)
    assert loads.unused() == []  # they are new
    for _ in range(2):
        for streams in (1, 0):
            sessions[3].load = streams  # the one that `choose` gives
            loads.update(as_links[3])
    assert loads.unused() == as_links[:3]
    loads.discard(as_links[1])
    assert loads.unused() == [as_links[0], as_links[2], as_links[3]]


def test_new_sessions_are_not_unused_at_the_first_look() -> None:
    loads, _ = unproven(2)
    assert loads.unused() == []


def test_a_session_that_came_after_the_last_look_is_not_unused() -> None:
    loads, links = unproven(1)
    loads.unused()
    others = [Session() for _ in range(2)]
    for other in others:
        loads.add(as_link(other))
    loads.discard(as_link(others[1]))
    assert loads.unused() == links


def test_an_update_without_a_change_leaves_the_order() -> None:
    loads, links = unproven(3)
    loads.update(links[2])
    assert loads.choose(8) is links[2]
    assert loads.last_choice() is links[0]


def test_a_session_whose_trial_was_in_vain_is_closed_first() -> None:
    loads, links = unproven(3)
    for streams in (1, 0):
        load(loads, links[2], streams)
    assert loads.last_choice() is links[2]
