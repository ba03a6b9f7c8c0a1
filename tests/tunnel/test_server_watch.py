"""The client's watch over its server, with a transport that only counts the questions."""

import asyncio
from dataclasses import dataclass, field

import pytest
from tests.support.net import until

from backhaul.transports.client_end import Answer
from backhaul.tunnel.server_watch import ServerWatch
from backhaul.tunnel.timings import Timings

TIMINGS = Timings(suspicion=0.02, look=0.01, asked_beside=3)
PATIENT = Timings(suspicion=3600.0)


@dataclass
class Line:
    """A control channel and its watch; ``beside`` is the answer on another connection."""

    protected: bool = True
    can_ask: bool = True
    in_use: bool = False
    others: bool = False
    timings: Timings = TIMINGS
    beside: "asyncio.Future[Answer]" = field(default_factory=asyncio.Future)
    asked: int = 0
    asked_beside: int = 0
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = ServerWatch(self, self.timings, self.lost.append, lambda: self.others)
        self.watch.begin()

    def probe(self) -> None:
        self.asked += 1

    async def measure(self) -> Answer:
        self.asked_beside += 1
        return await asyncio.shield(self.beside)


async def judged() -> None:
    """Wait until another line, which is doubted now and gives no answer on any connection, has been given up."""
    other = Line(others=True)
    other.beside.set_exception(ConnectionRefusedError())
    other.watch.doubt()
    await until(lambda: other.lost)


async def test_a_server_that_answers_is_kept() -> None:
    line = Line()
    line.watch.doubt()
    line.watch.heard()
    await judged()
    assert (line.asked, line.asked_beside, line.lost) == (1, 0, [])


async def test_a_server_is_asked_once_in_a_silence() -> None:
    line = Line()
    for _ in range(3):
        line.watch.doubt()
    assert line.asked == 1
    line.watch.end()


async def test_a_control_channel_that_has_ended_is_not_judged() -> None:
    line = Line()
    line.watch.doubt()
    line.watch.end()
    await judged()
    assert (line.asked_beside, line.lost) == (0, [])


@pytest.mark.parametrize("sign", ["message", "heartbeat"])
async def test_a_late_answer_ends_the_questions_on_other_connections(sign: str) -> None:
    line = Line()
    line.watch.doubt()
    await until(lambda: line.asked_beside)
    line.watch.heard() if sign == "message" else line.watch.beat()
    line.beside.set_result(Answer(0, 0))
    await judged()
    assert (line.asked_beside, line.lost) == (1, [])


async def test_a_server_that_answers_on_another_connection_is_connected_again() -> None:
    line = Line()
    line.beside.set_result(Answer(0, 0))
    line.watch.doubt()
    await until(lambda: line.lost)
    assert (line.asked_beside, line.lost) == (1, ["no answer within 0.02 s, but on another connection"])


@pytest.mark.parametrize(("others", "times"), [(False, 3), (True, 1)])
async def test_a_server_that_answers_nowhere_is_given_up(times: int, *, others: bool) -> None:
    line = Line(others=others)
    line.beside.set_exception(ConnectionRefusedError())
    line.watch.doubt()
    await until(lambda: line.lost)
    assert (line.asked_beside, line.lost) == (times, ["no answer within 0.02 s, nor on other connections"])


async def test_a_server_without_protection_is_asked_on_no_other_connection() -> None:
    line = Line(protected=False)
    line.watch.doubt()
    await until(lambda: line.lost)
    assert (line.asked_beside, line.lost) == (0, ["no answer within 0.02 s"])


async def test_a_server_that_cannot_be_asked_is_not_doubted() -> None:
    line = Line(can_ask=False)
    line.watch.doubt()
    await judged()
    assert (line.asked, line.lost) == (0, [])


async def test_a_server_that_disowns_a_control_channel_is_asked_at_once() -> None:
    line = Line(timings=PATIENT)
    line.beside.set_result(Answer(0, 0))
    line.watch.doubt()
    line.watch.disowned()
    await until(lambda: line.lost)
    assert (line.asked_beside, line.lost) == (1, ["no answer after a refused connection, but on another connection"])
    line.watch.end()


async def test_without_an_answer_the_next_refusal_is_a_reason_to_ask_again() -> None:
    line = Line(timings=PATIENT)
    line.beside.set_exception(ConnectionRefusedError())
    line.watch.doubt()
    for times in (1, 2):
        line.watch.disowned()
        line.watch.disowned()  # at the same time: one question is enough
        await judged()
        assert (line.asked_beside, line.lost) == (times, [])
    line.watch.end()


async def test_an_early_question_shortens_no_patience() -> None:
    line = Line(others=True)
    line.watch.doubt()
    line.watch.disowned()
    await until(lambda: line.asked_beside == 2)
    line.beside.set_exception(ConnectionRefusedError())
    await until(lambda: line.lost)
    assert line.lost == ["no answer within 0.02 s, nor on other connections"]


async def test_a_control_channel_that_is_not_in_doubt_is_not_asked_about() -> None:
    line = Line()
    line.watch.disowned()
    await judged()
    assert (line.asked_beside, line.lost) == (0, [])


async def test_a_sign_of_life_ends_the_early_question() -> None:
    line = Line(timings=PATIENT)
    line.watch.doubt()
    line.watch.disowned()
    await until(lambda: line.asked_beside)
    line.watch.heard()
    line.beside.set_result(Answer(0, 0))
    await judged()
    assert line.lost == []


async def test_after_a_sign_of_life_a_refusal_is_no_reason_to_ask() -> None:
    line = Line(timings=PATIENT)
    line.watch.doubt()
    line.watch.heard()
    line.watch.disowned()
    await judged()
    assert line.asked_beside == 0


async def test_a_server_without_protection_that_refuses_is_asked_on_no_other_connection() -> None:
    """One of v0.7.2 would take the question for a tunnel connection."""
    line = Line(timings=PATIENT, protected=False)
    line.watch.doubt()
    line.watch.disowned()
    await judged()
    assert line.asked_beside == 0
    line.watch.end()


async def test_an_early_question_that_has_become_late_gives_up_nothing() -> None:
    line = Line()
    line.watch.doubt()
    line.watch.disowned()
    await until(lambda: line.asked_beside == 2)
    line.beside.set_result(Answer(0, 0))
    await judged()
    assert line.lost == ["no answer within 0.02 s, but on another connection"]


@pytest.mark.parametrize(
    ("protected", "in_use", "recent", "asked"),
    [(True, False, False, 0), (True, True, False, 1), (True, False, True, 1), (False, True, True, 0)],
)
async def test_a_silent_server_is_asked_sooner_while_there_are_users(
    asked: int, *, protected: bool, in_use: bool, recent: bool
) -> None:
    line = Line(protected, in_use=in_use, timings=Timings(suspicion=3600.0, ask=3600.0, ask_in_use=-1.0))
    if recent:
        line.watch.user_came()
    line.watch.look()
    assert line.asked == asked
    line.watch.end()


@pytest.mark.parametrize(("can_ask", "asked"), [(True, 1), (False, 0)])
async def test_a_server_whose_heartbeat_is_late_is_asked_once(asked: int, *, can_ask: bool) -> None:
    line = Line(protected=False, can_ask=can_ask, timings=Timings(silence=-1.0, beats=-1.0))
    for _ in range(2):
        line.watch.look()
    assert line.asked == asked
