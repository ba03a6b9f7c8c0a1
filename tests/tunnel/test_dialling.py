"""The client against a server played by the test."""

import asyncio
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.behind import GOOD_ANSWER, Behind
from tests.support.net import Peer, cuts, until
from tests.support.protected import ProtectedServer
from tests.support.v072 import HANDSHAKE, RTT, header

from backhaul.wire.frames import encode
from backhaul.wire.signals import Signal

AUTO = 'security = "auto"'
CHANNEL = bytes([Signal.CHANNEL])


async def connected(behind: Behind) -> tuple[Peer, list[Peer]]:
    """Return the control channel of a v0.7.2 server and the two connections of the pool."""
    control = await behind.control()
    return control, await behind.carriers(2)


class TestHandshake:
    async def test_an_answer_byte_by_byte(self, behind: Behind) -> None:
        control = await behind.handshake_with(b"")
        for byte in cuts(GOOD_ANSWER, 1):
            await control.send(byte)
        assert await control.receive(1) == RTT

    @pytest.mark.parametrize(
        ("answer", "complaint"),
        [
            (encode(Signal.CHANNEL, b"0ther!"), "the server answered with another token"),
            (encode(Signal.TCP, b"s3cret"), "the server answered with another token"),
            (b"HTTP/1.1 400 Bad Request\r\n", "the server's answer is not a Backhaul handshake"),
        ],
    )
    async def test_a_wrong_answer(
        self, behind: Behind, caplog: pytest.LogCaptureFixture, answer: bytes, complaint: str
    ) -> None:
        caplog.set_level(logging.DEBUG)
        control = await behind.handshake_with(answer)
        assert await control.closed()
        assert complaint in caplog.text
        assert "s3cret" not in caplog.text
        assert "0ther!" not in caplog.text
        await connected(behind)

    async def test_a_server_that_hangs_up(self, behind: Behind, caplog: pytest.LogCaptureFixture) -> None:
        (await behind.listener.accept()).close()
        await connected(behind)
        assert caplog.text.count("\n") == 1
        assert "can't connect" in caplog.text

    @pytest.mark.usefixtures("short_handshake")
    async def test_a_server_that_does_not_answer(self, behind: Behind, caplog: pytest.LogCaptureFixture) -> None:
        control = await behind.handshake_with(b"")
        assert await control.receive_all() == b""
        assert "the server did not answer the handshake" in caplog.text

    async def test_a_server_that_starts_later(self, behind: Behind, caplog: pytest.LogCaptureFixture) -> None:
        port = behind.listener.port
        behind.listener.close()
        await until(lambda: "connection refused" in caplog.text)
        behind.listener = behind.net.listen(port)
        await connected(behind)


class TestPool:
    async def test_v072_receives_nothing(self, behind: Behind) -> None:
        _, carriers = await connected(behind)
        assert all(carrier.silent() for carrier in carriers)

    @pytest.mark.config(AUTO)
    async def test_a_protected_server_receives_admissions(self, behind: Behind) -> None:
        server = ProtectedServer()
        control = await behind.protected(server)
        await control.request(2)
        assert [await server.admits(carrier) for carrier in await behind.carriers(4)] == [True] * 4

    @pytest.mark.config(AUTO)
    async def test_admissions_are_those_of_the_last_channel(self, behind: Behind) -> None:
        server = ProtectedServer()
        for _ in range(2):
            control = await behind.protected(server)
            carriers = await behind.carriers(2)
            assert [await server.admits(carrier) for carrier in carriers] == [True] * 2
            for connection in (*carriers, control.peer):
                connection.close()

    async def test_a_request_brings_one_more(self, behind: Behind) -> None:
        control, _ = await connected(behind)
        await control.send(CHANNEL * 3)
        await behind.carriers(3)
        assert behind.client.tunnel.transport.idle == 5

    @pytest.mark.timings(look=0.02)
    async def test_dead_connections_are_replaced(self, behind: Behind) -> None:
        _, carriers = await connected(behind)
        carriers[0].close()
        carriers[1].reset()
        await behind.carriers(2)


class TestControlChannel:
    @pytest.mark.parametrize(
        ("farewell", "reason"),
        [
            (bytes([Signal.CLOSED]), "the server closed it to stop or to reload"),
            (b"\xee", "unknown signal 0xee"),
            (bytes([Signal.PING]), "unknown signal 0x02"),
        ],
    )
    async def test_what_ends_it(
        self, behind: Behind, caplog: pytest.LogCaptureFixture, farewell: bytes, reason: str
    ) -> None:
        control, carriers = await connected(behind)
        await control.send(farewell)
        assert await control.closed()
        assert f"control channel lost: {reason}" in caplog.text
        await connected(behind)
        assert all(carrier.silent() for carrier in carriers)

    @pytest.mark.timings(leave=0.1)
    async def test_carriers_are_left_to_the_server_for_a_moment(self, behind: Behind) -> None:
        """The server may have assigned users to them."""
        control, carriers = await connected(behind)
        await control.send(bytes([Signal.CLOSED]))
        for carrier in carriers:
            assert await carrier.closed()

    @pytest.mark.timings(look=0.01)
    async def test_an_internal_error_is_logged_and_the_client_reconnects(
        self, behind: Behind, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await connected(behind)
        with monkeypatch.context() as broken:
            broken.setattr("backhaul.tunnel.pool.PoolSize.sample", lambda *_: 1 // 0)
            await until(lambda: "internal error; reconnecting" in caplog.text)
        await connected(behind)

    @pytest.mark.parametrize("end", [Peer.close, Peer.reset])
    async def test_its_loss(self, behind: Behind, end: object) -> None:
        assert callable(end)
        control, _ = await connected(behind)
        end(control)
        await connected(behind)

    @pytest.mark.timings(look=0.02, silence_unasked=0.1, beats=0.001)
    async def test_a_server_that_falls_silent(self, behind: Behind, caplog: pytest.LogCaptureFixture) -> None:
        control, _ = await connected(behind)
        assert await control.closed()
        assert "control channel lost: no heartbeat" in caplog.text

    async def test_a_user_in_flight_outlives_it(self, behind: Behind) -> None:
        target = behind.net.listen()
        control, carriers = await connected(behind)
        await carriers[0].send(header(target.port) + b"hello")
        service = await target.accept()
        control.close()
        await connected(behind)
        assert await service.receive(5) == b"hello"
        await service.send(b"answer")
        assert await carriers[0].receive(6) == b"answer"

    async def test_goodbye(self, behind: Behind) -> None:
        control, carriers = await connected(behind)
        await behind.net.stop(behind.client)
        assert await control.receive_all() == bytes([Signal.CLOSED])
        assert [await carrier.receive_all() for carrier in carriers] == [b"", b""]

    @pytest.mark.config(AUTO)
    async def test_goodbye_to_a_protected_server(self, behind: Behind) -> None:
        control = await behind.protected(ProtectedServer())
        await behind.net.stop(behind.client)
        assert await control.receive() == Signal.CLOSED
        assert await control.peer.receive_all() == b""

    async def test_goodbye_within_the_handshake(self, behind: Behind) -> None:
        control = await behind.handshake_with(HANDSHAKE[:4])
        await behind.net.stop(behind.client)
        assert await control.receive_all() == b""


class TestAnnouncement:
    async def test_cut_into_bytes(self, behind: Behind) -> None:
        target = behind.net.listen()
        _, carriers = await connected(behind)
        for byte in cuts(header(f"127.0.0.1:{target.port}"), 1):
            await carriers[0].send(byte)
        await target.accept()

    async def test_bytes_after_the_target_arrive_first(self, behind: Behind) -> None:
        target = behind.net.listen()
        _, carriers = await connected(behind)
        await carriers[0].send(header(target.port) + b"one ")
        await carriers[0].send(b"two")
        service = await target.accept()
        assert await service.receive(7) == b"one two"

    @pytest.mark.parametrize("target", ["", "nowhere", "a:b:c", "localhost:0", "localhost:70000", "\x00:1"])
    async def test_a_bad_target(self, behind: Behind, caplog: pytest.LogCaptureFixture, target: str) -> None:
        _, carriers = await connected(behind)
        await carriers[0].send(header(target))
        await carriers[0].closed()
        assert "target" in caplog.text
        assert carriers[1].silent()

    async def test_a_target_that_refuses(self, behind: Behind, caplog: pytest.LogCaptureFixture) -> None:
        target = behind.net.listen()
        target.close()
        _, carriers = await connected(behind)
        await carriers[0].send(header(target.port))
        assert not await carriers[0].closed()
        assert f"target {target.port}: cannot be reached: connection refused" in caplog.text

    @pytest.mark.parametrize(
        ("said", "complaint"),
        [
            (encode(Signal.CHANNEL, b"80"), "frame of the unknown type 1"),
            (encode(Signal.TCP, bytes(600)), "frame of 600 bytes announced"),
            (b"\xff\xff\x04", "frame of 65535 bytes announced"),
            (b"\x01\x00\x00\x00", "frame of the unknown type 0; both ends need the same transport"),  # smux
        ],
    )
    async def test_nonsense(
        self, behind: Behind, caplog: pytest.LogCaptureFixture, said: bytes, complaint: str
    ) -> None:
        _, carriers = await connected(behind)
        await carriers[0].send(said)
        assert await carriers[0].closed()
        assert complaint in caplog.text

    async def test_a_carrier_that_ends_within_the_target(self, behind: Behind) -> None:
        _, carriers = await connected(behind)
        await carriers[0].send(header(80)[:3])
        carriers[0].shut_write()
        assert await carriers[0].receive_all() == b""

    @pytest.mark.config(connection_pool=1)
    async def test_a_client_that_stops_while_a_target_is_dialled(self, behind: Behind) -> None:
        silent = behind.net.listen(backlog=0)
        await behind.net.dial(silent.port)  # fills the queue
        await behind.control()
        (carrier,) = await behind.carriers(1)
        await carrier.send(header(silent.port))
        await until(lambda: behind.client.tunnel.dialling == 1)
        await behind.net.stop(behind.client)
        assert not await carrier.closed()


@pytest.mark.config(connection_pool=1)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(garbage=st.binary(min_size=1, max_size=60).filter(lambda data: data[2:3] not in {b"\x04", b"\x05"}))
async def test_garbage_on_a_tunnel_connection_affects_no_other(behind: Behind, garbage: bytes) -> None:
    if not behind.client.tunnel.peer:
        await behind.control()
    await until(lambda: behind.client.tunnel.peer)
    behind.client.tunnel.transport.open()
    carrier = await behind.listener.accept()
    await carrier.send(garbage)
    carrier.shut_write()
    await carrier.closed()
    assert behind.client.tunnel.peer


async def test_two_tunnels_to_one_server_do_not_wait_for_each_other(behind: Behind) -> None:
    control, carriers = await connected(behind)
    targets = [behind.net.listen(), behind.net.listen()]
    for carrier, target in zip(carriers, targets, strict=True):
        await carrier.send(header(target.port))
    await asyncio.gather(*(target.accept() for target in targets))
    assert control.silent()
