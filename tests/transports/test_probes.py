"""Probes: handshakes of clients that only ask whether they fit."""

import math
import time
from dataclasses import replace

import pytest
from tests.support.net import Peer, free_port
from tests.support.protected_client import ProtectedClient, ask, framed, upgraded_with
from tests.support.tunnel import TOKEN, Net

from backhaul import __version__
from backhaul.errors import TransportError
from backhaul.security.hello import PROBE_PADDING, ServerHello
from backhaul.server import Server
from backhaul.transports.auth import PROTECTED_IF_POSSIBLE
from backhaul.transports.doors.handshake import Seen
from backhaul.transports.doors.probe import Probe
from backhaul.wire import base64url
from backhaul.wire.frames import FrameReader, Sealed, sealed_message
from backhaul.wire.transports import TRANSPORTS


def probe(transport: str, padding: int = 0, delay: float = 0) -> Probe:
    return Probe(
        TOKEN.encode(),
        TRANSPORTS[transport],
        Seen(),
        protection=PROTECTED_IF_POSSIBLE,
        padding=padding,
        delay=delay,
    )


async def asked(net: Net, port: int, question: Probe) -> tuple[Peer, bytes]:
    """Send a probe; return the connection and the server's message."""
    if TRANSPORTS[net.transport].http:
        peer, answer = await upgraded_with(net, port, question.message)
        return peer, answer.message
    peer = await net.dial(port)
    await peer.send(framed(Sealed.HANDSHAKE, question.message))
    reader = FrameReader(base64url.size(2048))
    while not (frame := reader.feed(await peer.receive(1))):
        pass
    return peer, sealed_message(frame.body)


async def answer(net: Net, port: int, question: Probe) -> ServerHello:
    """Return the server's hello; nothing may follow it."""
    peer, message = await asked(net, port, question)
    assert await peer.receive_all() == b""
    return question.finish(message)


@pytest.fixture(params=["tcp", "ws"])
def gate_net(net: Net, request: pytest.FixtureRequest) -> Net:
    net.transport = request.param
    return net


async def started(net: Net) -> tuple[Server, int]:
    port = free_port()
    return await net.server(port), port


async def test_a_client_that_fits_learns_version_and_time_of_the_server(gate_net: Net) -> None:
    _, port = await started(gate_net)
    before = time.time()
    hello = await answer(gate_net, port, probe(gate_net.transport))
    assert (hello.refusal, hello.program, hello.session, hello.locator) == ("", __version__, 0, b"")
    assert before <= hello.time <= time.time()


async def test_a_client_that_does_not_fit_learns_the_reason(gate_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    server, port = await started(gate_net)
    other = gate_net.transport + "mux"
    hello = await answer(gate_net, port, probe(other))
    assert hello.refusal.startswith(f"the client runs {other}, this server {gate_net.transport}")
    assert hello.program == __version__
    assert not server.session().problem
    assert "this server" not in "".join(line.message for line in caplog.records if line.levelname != "DEBUG")


async def test_an_answer_is_as_large_as_its_probe(gate_net: Net) -> None:
    _, port = await started(gate_net)
    hello = await answer(gate_net, port, probe(gate_net.transport, PROBE_PADDING))
    assert len(hello.padding) == PROBE_PADDING


async def test_the_session_of_the_client_stays(net: Net) -> None:
    server, port = await started(net)
    client = await (await ProtectedClient.dial(net, port)).confirm()
    for _ in range(40):  # more than a network may leave unconfirmed
        await answer(net, port, probe("tcp"))
    await client.confirm()
    assert server.session().connected
    assert client.control.silent()


async def test_a_recorded_probe_gets_no_answer(net: Net) -> None:
    _, port = await started(net)
    question = probe("tcp")
    await answer(net, port, question)
    peer = await net.dial(port)
    await peer.send(framed(Sealed.HANDSHAKE, question.message))
    assert await peer.receive_all() == b""


class TestLateAnswers:
    async def late(self, net: Net, port: int, delay: float) -> Peer:
        """Return a connection whose probe is answered later."""
        peer = await net.dial(port)
        message = probe(net.transport, delay=delay).message
        await peer.send(ask(message)[0] if TRANSPORTS[net.transport].http else framed(Sealed.HANDSHAKE, message))
        return peer

    async def test_it_comes_after_a_silence(self, gate_net: Net) -> None:
        _, port = await started(gate_net)
        hello = await answer(gate_net, port, probe(gate_net.transport, delay=0.05))
        assert hello.program == __version__

    async def test_a_server_that_stops_closes_the_connection(self, gate_net: Net) -> None:
        server, port = await started(gate_net)
        peer = await self.late(gate_net, port, 9)
        await answer(gate_net, port, probe(gate_net.transport))  # the one before has been read
        assert peer.silent()
        await gate_net.stop(server)
        assert await peer.receive_all() == b""

    async def test_the_oldest_makes_room(self, gate_net: Net) -> None:
        gate_net.limits = replace(gate_net.limits, late_answers=2)
        _, port = await started(gate_net)
        peers = [await self.late(gate_net, port, 9) for _ in range(3)]
        assert await peers[0].receive_all() == b""
        assert peers[1].silent()
        assert peers[2].silent()

    async def test_a_client_that_leaves_gives_its_place_back(self, gate_net: Net) -> None:
        gate_net.limits = replace(gate_net.limits, late_answers=2)
        _, port = await started(gate_net)
        first = await self.late(gate_net, port, 9)
        await answer(gate_net, port, probe(gate_net.transport))
        second = await self.late(gate_net, port, 9)
        second.shut_write()
        assert await second.receive_all() == b""
        await answer(gate_net, port, probe(gate_net.transport))
        assert first.silent()

    async def test_no_delay_is_longer_than_the_limit_and_none_is_nonsense(self, net: Net) -> None:
        _, port = await started(net)
        peers = [await self.late(net, port, delay) for delay in (1e300, math.inf, math.nan)]
        hello = await answer(net, port, probe("tcp", delay=-1.0))
        assert hello.program == __version__
        assert all(peer.silent() for peer in peers)

    @pytest.mark.parametrize("delay", [9.0, math.inf, math.nan])
    async def test_an_answer_comes_at_the_limit(self, net: Net, delay: float) -> None:
        net.limits = replace(net.limits, answer_delay=0.05)
        _, port = await started(net)
        hello = await answer(net, port, probe("tcp", delay=delay))
        assert hello.program == __version__


async def test_a_client_that_asks_again_and_again_gets_no_answer_for_a_while(
    gate_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    _, port = await started(gate_net)
    for _ in range(121):
        await answer(gate_net, port, probe(gate_net.transport))
    with pytest.raises((EOFError, ConnectionError, TransportError)):
        await asked(gate_net, port, probe(gate_net.transport))
    assert caplog.text.count("connects again and again; its handshakes get no answer for 5 s") == 1
