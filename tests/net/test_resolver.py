"""Look-ups of names: shared, bounded, and with old answers while a new one is late."""

import errno
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.names import Names
from tests.support.net import until
from tests.support.threadless import threadless

from backhaul.net.resolver import Answer, Resolver, look_up

pytestmark = pytest.mark.both_loops
OLD, NEW = "127.0.0.1", "127.0.0.2"
NAME, OTHER = "name.example", "other.example"
MINUTE = 60.0


class Desk:
    """A resolver, the names known to it, and a clock moved by the test."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - those of the resolver
        self.now = 1000.0
        self.names = Names(name_example=OLD)
        self.resolver = Resolver(lookup=self.names, clock=lambda: self.now, **options)
        self.answers: list[Answer] = []

    def ask(self, name: str = NAME) -> None:
        self.resolver.resolve(name, self.answers.append)

    async def address(self, name: str = NAME) -> str:
        """Ask, and return the address of the answer."""
        answer = await self.answer(name)
        assert not isinstance(answer, OSError)
        ((_, (host, *_)),) = answer
        return str(host)

    async def answer(self, name: str = NAME) -> Answer:
        answers: list[Answer] = []
        self.resolver.resolve(name, answers.append)
        await until(lambda: answers)
        return answers[0]

    async def settled(self) -> None:
        """Wait until no look-up is running."""
        await until(lambda: not self.resolver.running)


@pytest.fixture
async def desks() -> AsyncIterator[list[Desk]]:
    made: list[Desk] = []
    yield made
    for desk in made:
        desk.names.let_go()
        desk.resolver.close()


@pytest.fixture
async def desk(desks: list[Desk]) -> Desk:
    """Trust old answers for an hour, and wait without limit if they are not trusted."""
    desks.append(Desk(patience=MINUTE))
    return desks[-1]


@pytest.fixture
async def wary(desks: list[Desk]) -> Desk:
    """Wait for a new answer, but only for a moment."""
    desks.append(Desk(trust=0, patience=0.01))
    return desks[-1]


async def test_queries_for_a_name_share_a_look_up(desk: Desk) -> None:
    desk.names.silence(NAME)
    for _ in range(200):
        desk.ask()
    await until(lambda: desk.names.asked[NAME])
    desk.names.known[NAME] = NEW
    desk.names.let_go()
    await until(lambda: len(desk.answers) == 200)
    assert desk.names.asked[NAME] == 1


async def test_a_silent_name_delays_no_other(desk: Desk) -> None:
    for number in range(20):
        desk.ask(f"silent{number}.example")
    assert await desk.address() == OLD
    assert not desk.answers


async def test_an_answer_is_remembered(desk: Desk) -> None:
    await desk.address()
    desk.ask()
    assert len(desk.answers) == 1  # at once
    assert desk.names.asked[NAME] == 1


async def test_an_old_answer_serves_at_once_and_is_renewed(desk: Desk) -> None:
    await desk.address()
    desk.now += MINUTE
    desk.names.known[NAME] = NEW
    assert await desk.address() == OLD
    await desk.settled()
    assert await desk.address() == NEW


async def test_an_old_answer_outlives_a_name_server_that_fails(desk: Desk) -> None:
    await desk.address()
    desk.names.known[NAME] = socket.gaierror(socket.EAI_AGAIN, "temporary failure")
    for _ in range(3):
        desk.now += MINUTE
        assert await desk.address() == OLD
        await desk.settled()
    assert desk.names.asked[NAME] == 4


async def test_an_old_answer_does_not_outlive_its_name(desk: Desk) -> None:
    await desk.address()
    desk.names.known[NAME] = socket.gaierror(socket.EAI_NONAME, "no such name")
    desk.now += MINUTE
    await desk.answer()
    await desk.settled()
    assert isinstance(await desk.answer(), socket.gaierror)


async def test_an_old_answer_is_dropped_after_an_hour(desk: Desk) -> None:
    await desk.address()
    desk.names.known[NAME] = NEW
    desk.now += 61 * MINUTE
    assert await desk.address() == NEW


async def test_a_patient_query_gets_the_new_answer(desks: list[Desk]) -> None:
    desks.append(Desk(trust=0, patience=MINUTE))
    await desks[0].address()
    desks[0].now += MINUTE
    desks[0].names.known[NAME] = NEW
    assert await desks[0].address() == NEW


async def test_an_impatient_query_gets_the_old_answer(wary: Desk) -> None:
    await wary.address()
    wary.now += MINUTE
    wary.names.silence(NAME)
    assert await wary.address() == OLD
    wary.ask()
    assert len(wary.answers) == 1  # the look-up is late already
    assert wary.names.asked[NAME] == 2


async def test_a_doubted_name_is_looked_up_before_it_is_used_again(desk: Desk) -> None:
    await desk.address()
    desk.now += 2
    desk.names.known[NAME] = NEW
    desk.resolver.doubt(NAME)
    assert await desk.address() == NEW


async def test_a_name_doubted_again_and_again_is_looked_up_once_a_second(desk: Desk) -> None:
    for _ in range(100):
        await desk.address()
        desk.resolver.doubt(NAME)
    assert desk.names.asked[NAME] == 1


async def test_an_error_is_remembered_for_a_second(desk: Desk) -> None:
    desk.names.known[OTHER] = socket.gaierror(socket.EAI_AGAIN, "temporary failure")
    assert isinstance(await desk.answer(OTHER), OSError)
    desk.ask(OTHER)
    assert len(desk.answers) == 1
    desk.now += 2
    desk.names.known[OTHER] = NEW
    assert await desk.address(OTHER) == NEW


async def test_a_cancelled_query_is_not_answered(desk: Desk) -> None:
    desk.names.silence(NAME)
    given_up = desk.resolver.resolve(NAME, desk.answers.append)
    desk.ask()
    given_up.cancel()
    given_up.cancel()
    desk.names.let_go()
    await until(lambda: desk.answers)
    assert len(desk.answers) == 1


async def test_too_many_names_are_refused_at_once(desks: list[Desk]) -> None:
    desks.append(desk := Desk(most=3))
    for number in range(4):
        desk.ask(f"silent{number}.example")
    (refusal,) = desk.answers
    assert isinstance(refusal, OSError)
    assert refusal.errno == errno.EAGAIN
    assert str(refusal.strerror) == "too many names are being looked up"
    desk.ask("silent0.example")
    assert len(desk.answers) == 1  # it shares
    desk.names.let_go()
    await desk.settled()
    assert await desk.address() == OLD


async def test_a_look_up_fails_without_a_thread_unless_there_is_an_old_answer(desk: Desk) -> None:
    desk.names.known[OTHER] = OLD
    assert await desk.address(OTHER) == OLD
    desk.now += MINUTE
    with threadless():
        desk.ask()
        desk.ask(OTHER)
    refusal, old = desk.answers
    assert isinstance(refusal, OSError)
    assert (refusal.errno, refusal.strerror) == (errno.EAGAIN, "can't start new thread")
    assert not isinstance(old, OSError)
    assert await desk.address() == OLD


async def test_an_old_answer_is_used_if_no_look_up_is_possible(desks: list[Desk]) -> None:
    desks.append(desk := Desk(most=1, trust=0))
    await desk.address()
    desk.now += MINUTE
    desk.ask("silent.example")
    assert await desk.address() == OLD


async def test_unused_names_are_forgotten(desks: list[Desk]) -> None:
    desks.append(desk := Desk(names=2))
    desk.names.known.update({"two.example": NEW, "three.example": NEW})
    for name in (NAME, "two.example", NAME, "three.example", NAME):
        await desk.address(name)
    assert desk.resolver.remembered == 2
    assert desk.names.asked[NAME] == 1


async def test_a_closed_resolver_answers_no_query(desk: Desk) -> None:
    desk.ask("silent.example")
    desk.resolver.close()
    desk.names.let_go()
    assert await desk.address() == OLD  # the other query would have been answered before this one
    assert not desk.answers


@pytest.mark.parametrize("name", ["x" * 70 + ".example", "127.0.0.1\0.example"])
async def test_an_invalid_name(name: str) -> None:
    answers: list[Answer] = []
    Resolver(lookup=look_up).resolve(name, answers.append)
    await until(lambda: answers)
    assert isinstance(answers[0], OSError)
    assert answers[0].errno == errno.EINVAL


async def test_a_lack_of_memory_is_an_ordinary_error(desk: Desk) -> None:
    def exhausted(_: str) -> tuple[()]:
        raise MemoryError

    answers: list[Answer] = []
    Resolver(lookup=exhausted).resolve(NAME, answers.append)
    await until(lambda: answers)
    assert isinstance(answers[0], OSError)


def test_the_system_is_asked_and_ipv4_comes_first() -> None:
    families = [family for family, _ in look_up("localhost")]
    assert families[0] == socket.AF_INET
