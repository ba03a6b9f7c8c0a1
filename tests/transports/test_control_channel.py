"""A control channel whose peer stops reading."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.support.net import until
from tests.support.tunnel import Net

from backhaul.net.poller import Poller
from backhaul.net.pollers import make_poller
from backhaul.transports.control.channel import ControlChannel

QUESTION = bytes(1 << 16)
MANY = 1 << 9  # questions: more than any kernel keeps


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    poller = make_poller()
    yield poller
    poller.close()


class Questions:
    """Takes each read for a question."""

    def feed(self, data: bytes) -> Sequence[bytes]:
        return [data]


async def test_a_peer_that_asks_without_end_and_reads_no_answer_is_left(net: Net, poller: Poller) -> None:
    near, far = await net.pair()
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def answer(question: bytes) -> None:
        channel.send(question)

    channel = ControlChannel(poller, near.sock, Questions(), answer, lost.set_result)
    channel.start()
    with contextlib.suppress(ConnectionError):
        for _ in range(MANY):
            await far.send(QUESTION)
    await until(lost.done)
    assert lost.result() == "the peer has stopped reading"
