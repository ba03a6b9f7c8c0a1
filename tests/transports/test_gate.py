"""The connections that the tunnel's port of a server admits, and the ones that it refuses."""

import asyncio
import contextlib
import logging
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.net import HOST, free_port, until
from tests.support.public import Public
from tests.support.tunnel import TOKEN, Net
from tests.support.v072 import HANDSHAKE, RTT, dial_control

from backhaul.config.secret import Secret
from backhaul.system.limits import raise_descriptor_limit
from backhaul.transports.control.channel import ControlChannel
from backhaul.wire.frames import encode
from backhaul.wire.signals import Signal

OTHER_ADDRESS = "127.0.0.2"


class TestHandshake:
    async def test_cut_into_bytes(self, public: Public) -> None:
        control = await public.tunnel_connection()
        for byte in HANDSHAKE:
            await control.send(bytes([byte]))
            await asyncio.sleep(0)
        assert await control.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT

    async def test_a_wrong_token(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        other = await public.tunnel_connection()
        await other.send(encode(Signal.CHANNEL, b"guess"))
        assert await other.receive_all() == b""
        assert "refused a connection from 127.0.0.1: wrong token" in caplog.text
        assert "guess" not in caplog.text
        assert not public.server.tunnel.connected

    @pytest.mark.parametrize("kind", [Signal.HEARTBEAT, Signal.TCP, Signal.PROBE, 0x7F, 0x80, 255])
    async def test_the_right_token_with_a_wrong_type(self, public: Public, kind: int) -> None:
        other = await public.tunnel_connection()
        await other.send(encode(kind, TOKEN.encode()))
        assert await other.receive_all() == b""

    async def test_more_bytes_than_any_token(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        other = await public.tunnel_connection()
        await other.send(b"GET / HTTP/1.1\r\n")
        assert await other.closed()
        assert "no Backhaul client" in caplog.text

    @pytest.mark.usefixtures("short_handshake")
    async def test_silence(self, public: Public) -> None:
        other = await public.tunnel_connection()
        assert await other.receive_all() == b""

    @pytest.mark.usefixtures("short_handshake")
    async def test_single_bytes_do_not_extend_the_time(self, public: Public) -> None:
        other = await public.tunnel_connection()
        closed = asyncio.ensure_future(other.closed())
        while not closed.done():
            with contextlib.suppress(ConnectionError):
                await other.send(HANDSHAKE[:1])
            await asyncio.wait({closed}, timeout=0.02)

    async def test_bytes_after_the_handshake_count(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        control = await public.tunnel_connection()
        await control.send(HANDSHAKE + bytes([Signal.RTT, Signal.CLOSED]))
        await control.closed()
        assert "the client closed it to stop or to reload" in caplog.text

    async def test_a_goodbye_counts_even_if_the_last_signals_do_not_arrive(
        self, public: Public, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = await public.tunnel_connection()
        await client.send(HANDSHAKE)
        assert await client.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT
        client.sock.send(bytes([Signal.RTT, Signal.CLOSED]))  # the server reads both at once ...
        client.reset()  # ... and finds the error with its next call
        await until(lambda: not public.server.tunnel.connected)
        assert "the client closed it to stop or to reload" in caplog.text
        assert "reset" not in caplog.text

    async def test_both_logs_name_the_wrong_token_and_neither_shows_one(
        self, net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        port = free_port()
        await net.server(port)
        await net.client(port, 'token = "an0ther"\nsecurity = "legacy"')
        refused = f"can't connect to 127.0.0.1:{port}: the server closed the connection during the handshake"
        await until(lambda: refused in caplog.text)
        assert f"{refused}; is the token right?" in caplog.text
        assert "refused a connection from 127.0.0.1: wrong token" in caplog.text
        assert TOKEN not in caplog.text
        assert "an0ther" not in caplog.text

    async def test_a_token_longer_than_any_greeting(self, net: Net) -> None:
        port, token = free_port(), "x" * 5000
        server = await net.server(port, accepted=(Secret(token),))
        await net.client(port, accepted=(Secret(token),))
        await until(lambda: server.tunnel.connected)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.one_of(st.binary(max_size=40), st.just(HANDSHAKE[:3])), max_size=4))
async def test_garbage_affects_no_other(public: Public, chunks: list[bytes]) -> None:
    other = await public.tunnel_connection()
    for chunk in chunks:
        await other.send(chunk)
    other.shut_write()
    await other.closed()
    other.close()
    control = await public.client()
    control.close()
    await until(lambda: not public.server.tunnel.connected)


class TestPendingConnections:
    @pytest.fixture(autouse=True)
    def _enough_descriptors(self) -> None:
        raise_descriptor_limit()

    async def test_more_silent_connections_than_places_stop_no_handshake(self, public: Public) -> None:
        for _ in range(1100):
            await public.tunnel_connection()
        await public.client()
        assert public.server.tunnel.connected

    @pytest.mark.limits(pending=3, pending_per_address=3)
    async def test_one_connection_too_many_pushes_out_the_oldest(self, public: Public) -> None:
        others = [await public.tunnel_connection() for _ in range(4)]
        assert await others[0].closed()
        assert all(other.silent() for other in others[1:])

    @pytest.mark.limits(pending=1, pending_per_address=1)
    async def test_the_oldest_is_read_before_it_makes_room(self, public: Public) -> None:
        before = await public.tunnel_connection()
        first = await public.tunnel_connection()
        await before.closed()  # so the first one has been accepted
        with socket.create_connection((HOST, public.port)):  # the server sees it before ...
            first.sock.send(HANDSHAKE)  # ... this, as both are there when it looks
            assert await first.receive(len(HANDSHAKE)) == HANDSHAKE

    @pytest.mark.timings(user_patience=0.1)
    @pytest.mark.parametrize("port", ["port", "user_port"])
    async def test_a_thousand_connections_that_open_and_close(self, public: Public, port: str) -> None:
        for _ in range(1000):
            (await public.net.dial(getattr(public, port))).close()
        await public.client()
        (user_port,) = public.server.tunnel.ports.open.values()
        await until(lambda: not user_port.open)


class TestBackOff:
    async def fail(self, public: Public, source: str) -> None:
        for _ in range(3):
            other = await public.tunnel_connection(source)
            await other.send(encode(Signal.CHANNEL, b"guess"))
            assert await other.closed()

    @pytest.mark.limits(failures=3)
    async def test_after_many_failures_an_address_is_read_but_not_logged(
        self, public: Public, caplog: pytest.LogCaptureFixture
    ) -> None:
        await self.fail(public, OTHER_ADDRESS)
        assert "127.0.0.2: too many failed attempts" in caplog.text
        caplog.clear()
        await self.fail(public, OTHER_ADDRESS)
        assert "127.0.0.2" not in caplog.text
        await public.client(OTHER_ADDRESS)

    @pytest.mark.limits(failures=3)
    async def test_a_neighbour_at_the_same_address_does_not_lock_the_client_out(self, public: Public) -> None:
        first = await public.client(OTHER_ADDRESS)
        await self.fail(public, OTHER_ADDRESS)
        first.close()
        await public.client(OTHER_ADDRESS)


class TestNeighbours:
    async def test_a_neighbour_with_a_connection_for_each_user_gets_none_of_the_first(self, public: Public) -> None:
        """The v0.7.2 client has a pool of eight, and the same address."""
        await public.client()
        pool = [await public.tunnel_connection() for _ in range(8)]
        await until(lambda: public.server.tunnel.transport.idle == len(pool))
        for carrier in pool:
            await public.tunnel_connection()
            await until(lambda: public.server.tunnel.transport.idle == len(pool) + 1)
            user = await public.user()
            await user.send(b"secret")
            assert await (await public.addressed(carrier)).receive(6) == b"secret"


class TestTakeOver:
    async def test_a_second_handshake_from_the_same_address(
        self, public: Public, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It counts as a tunnel connection at first: those of v0.7.2 say nothing."""
        first = await public.client()
        second = await public.tunnel_connection()
        await second.send(HANDSHAKE)
        assert await first.receive_all() == b""
        assert await second.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT
        assert "control channel lost: a client at 127.0.0.1 replaced the connected one" in caplog.text

    async def test_a_second_handshake_on_a_connection_that_was_idle(self, public: Public) -> None:
        first = await public.client()
        second = await public.tunnel_connection()
        await until(lambda: public.server.tunnel.transport.idle == 1)
        await second.send(HANDSHAKE)
        assert await first.receive_all() == b""
        assert await second.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT

    async def test_a_handshake_that_arrives_together_with_a_user(self, public: Public) -> None:
        await public.client()
        second = await public.tunnel_connection()
        await until(lambda: public.server.tunnel.transport.idle == 1)
        with socket.create_connection((HOST, public.user_port)):  # the server sees the user before ...
            second.sock.send(HANDSHAKE)  # ... this, as both are there when it looks
            assert await second.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT

    @pytest.mark.limits(second_thought=0.3)
    @pytest.mark.parametrize("speaks", [True, False])
    async def test_while_the_old_channel_is_silent_a_connection_may_be_a_handshake(
        self, public: Public, monkeypatch: pytest.MonkeyPatch, *, speaks: bool
    ) -> None:
        monkeypatch.setattr(ControlChannel, "unanswered", True)
        await public.client()
        await public.user()
        second = await public.tunnel_connection()
        if speaks:
            await second.send(HANDSHAKE)
            assert await second.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT
        else:
            await public.addressed(second)

    async def test_a_server_that_stops_closes_undecided_connections(
        self, public: Public, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ControlChannel, "unanswered", True)
        await public.client()
        second = await public.tunnel_connection()
        await public.net.stop(public.server)
        assert await second.closed()

    async def test_a_server_that_stops_reports_no_loss(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        client = await public.client()
        client.reset()
        await public.net.stop(public.server)  # its last signal can't be sent
        assert "lost" not in caplog.text

    async def test_a_second_handshake_from_another_address(self, public: Public) -> None:
        first = await public.client()
        await public.client(OTHER_ADDRESS)
        assert await first.receive_all() == b""

    async def test_a_wrong_token_takes_nothing_over(self, public: Public) -> None:
        first = await public.client()
        other = await public.tunnel_connection()
        await other.send(encode(Signal.CHANNEL, b"guess"))
        assert await other.closed()
        assert first.silent()
        assert public.server.tunnel.connected


class TestTrust:
    async def test_v072_is_trusted_by_its_address(self, public: Public) -> None:
        await public.client()
        carrier = await public.tunnel_connection()
        user = await public.user()
        await public.addressed(carrier)
        await user.send(b"hello")
        assert await carrier.receive(5) == b"hello"

    async def test_another_address_is_not_trusted(self, public: Public) -> None:
        await public.client()
        other = await public.tunnel_connection(OTHER_ADDRESS)
        assert await other.receive_all() == b""

    async def test_no_address_is_trusted_without_a_client(self, public: Public) -> None:
        control = await public.client()
        control.close()
        await until(lambda: not public.server.tunnel.connected)
        other = await public.tunnel_connection()
        assert await other.receive_all() == b""


async def test_the_port_of_the_tunnel_over_ipv6(net: Net) -> None:
    port = free_port("::1")
    await net.server(port, host="[::1]")
    control = await net.dial(port, "::1")
    await control.send(HANDSHAKE)
    assert await control.receive(len(HANDSHAKE)) == HANDSHAKE


async def test_an_ipv4_client_of_a_server_on_all_addresses_has_its_plain_address(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    await net.server(port, host="")
    await dial_control(net, port)
    assert "client 127.0.0.1 connected" in caplog.text
