"""A control channel whose peer stops reading."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.support.net import until
from tests.support.tunnel import Net
from tests.support.web import BINARY, PING, frame

from backhaul.net.poller import Poller
from backhaul.net.pollers import make_poller
from backhaul.transports.control.channel import ControlChannel
from backhaul.transports.control.websocket import WsControlDecoder
from backhaul.wire.signals import Signal
from backhaul.wire.websocket import WebSocketError

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


def decoded(data: bytes, *, from_client: bool) -> list[Signal]:
    return WsControlDecoder(lambda _answer: None, from_client=from_client).feed(data)


@pytest.mark.parametrize("message", [(BINARY, b"\0"), (BINARY, b""), (PING, b"")])
def test_a_client_that_floods_its_control_channel_loses_it(message: tuple[int, bytes]) -> None:
    few = frame(*message, masked=True) * 250
    assert len(decoded(few, from_client=True)) in {0, 250}
    with pytest.raises(WebSocketError, match="floods the control channel"):
        decoded(few * 2, from_client=True)


def test_a_server_may_ask_for_many_connections_at_once_but_send_few_pings() -> None:
    assert decoded(frame(BINARY, b"\1") * 1000, from_client=False) == [Signal.CHANNEL] * 1000
    with pytest.raises(WebSocketError, match="floods the control channel"):
        decoded(frame(PING, b"") * 1000, from_client=False)
