"""The least loaded of many sessions."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backhaul.transports.loads import Loads


class Session:
    """As much of a link as matters here."""

    def __init__(self) -> None:
        self.streams = 0
        self.resting = False

    def __len__(self) -> int:
        return self.streams


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 12), st.booleans())))
def test_the_books_agree_with_the_sessions(events: list[tuple[int, int, bool]]) -> None:
    loads, sessions = Loads(), [Session() for _ in range(10)]
    known: set[Any] = set()
    for number, streams, resting in events:
        session: Any = sessions[number]
        if streams < 0:
            loads.discard(session)
            known.discard(session)
        elif session in known:
            moves_again = session.resting and not resting
            session.streams, session.resting = streams, resting
            assert loads.update(session) is moves_again
        else:
            session.streams, session.resting = streams, resting
            assert not loads.update(session)  # one that is not here stays out
            assert session not in loads
            loads.add(session)
            known.add(session)
    assert set(loads) == known
    assert bool(loads) == bool(known)
    moving = [session for session in known if not session.resting]  # the others take nobody
    assert loads.idle == sum(not session.streams for session in moving)
    assert loads.room(8) == sum(max(0, 8 - session.streams) for session in moving)
    least: Any = loads.least()
    assert (None if least is None else least.streams) == min((session.streams for session in moving), default=None)


def test_what_nobody_has_used_since_the_last_look() -> None:
    loads, sessions = Loads(), [Session() for _ in range(4)]
    as_links: list[Any] = list(sessions)
    assert loads.unused() == []
    for link in as_links:
        loads.add(link)
    assert loads.unused() == []  # they have only just come
    for _ in range(2):
        for streams in (1, 0):
            sessions[3].streams = streams  # the one that `least` gives
            loads.update(as_links[3])
    assert loads.unused() == as_links[:3]
    loads.discard(as_links[1])
    assert loads.unused() == [as_links[0], as_links[2], as_links[3]]
