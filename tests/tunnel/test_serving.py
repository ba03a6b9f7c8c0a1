"""Users on the public end: carried, waiting or closed, and the half-close towards a v0.7.2 client."""

import asyncio
import socket
from unittest import mock

import pytest
from tests.support.net import HOST, Peer, until
from tests.support.public import Public
from tests.support.v072 import HANDSHAKE, RTT, header

from backhaul.relay.patience import Patience
from backhaul.selection import Selection
from backhaul.wire.signals import Signal

CHANNEL = bytes([Signal.CHANNEL])


class TestDemand:
    async def test_each_user_takes_a_connection_and_requests_another(self, public: Public) -> None:
        control = await public.client()
        carriers = [await public.tunnel_connection() for _ in range(3)]
        await until(lambda: public.server.tunnel.transport.idle == 3)
        for number, carrier in enumerate(carriers, 1):
            user = await public.user()
            await user.send(b"%d" % number)
            await public.addressed(carrier)
            assert await carrier.receive(1) == b"%d" % number
        assert await control.receive(3) == CHANNEL * 3

    async def test_waiting_users_are_announced_to_a_new_client(self, public: Public) -> None:
        users = [await public.user() for _ in range(3)]
        await until(lambda: public.server.tunnel.waiting == 3)
        control = await public.net.dial(public.port)
        await control.send(HANDSHAKE)
        assert await control.receive(len(HANDSHAKE) + 4) == HANDSHAKE + RTT + CHANNEL * 3
        await control.send(RTT)
        for number, user in enumerate(users):
            await user.send(bytes([number]))
        for number in range(3):
            carrier = await public.addressed(await public.tunnel_connection())
            assert await carrier.receive(1) == bytes([number])

    async def test_the_longest_waiting_user_is_served_first(self, public: Public) -> None:
        await public.client()
        first, second = await public.user(), await public.user()
        await second.send(b"2")
        await first.send(b"1")
        carrier = await public.addressed(await public.tunnel_connection())
        assert await carrier.receive(1) == b"1"

    @pytest.mark.config("heartbeat = 1", heartbeat=0.02)
    async def test_heartbeats_are_sent(self, public: Public) -> None:
        control = await public.client()
        assert await control.receive(3) == bytes([Signal.HEARTBEAT]) * 3


class TestPatience:
    @pytest.mark.timings(user_patience=0.1)
    async def test_no_client(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        user = await public.user()
        await user.send(b"a letter")
        user.shut_write()
        assert not await user.closed()
        host, port = user.address
        assert f"user {host}:{port} of port {host}:{public.user_port}, target 192.0.2.1:80: closed" in caplog.text
        assert "no client is connected" in caplog.text

    @pytest.mark.timings(user_patience=0.1)
    async def test_a_client_that_opens_nothing(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        await public.client()
        user = await public.user()
        assert not await user.closed()
        assert "no free tunnel connection" in caplog.text
        (port,) = public.server.tunnel.ports.open.values()
        assert (port.open, port.refused, port.dropped) == (0, 0, 1)

    @pytest.mark.timings(user_patience=0.1)
    async def test_a_carried_user_is_not_given_up(self, public: Public) -> None:
        await public.client()
        user, given_up = await public.user(), await public.user()
        carrier = await public.addressed(await public.tunnel_connection())
        assert not await given_up.closed()
        await user.send(b"still here")
        assert await carrier.receive(10) == b"still here"

    async def test_a_user_who_left_waits_no_longer(self, public: Public) -> None:
        gone, stays = await public.user(), await public.user()
        (port,) = public.server.tunnel.ports.open.values()
        await until(lambda: port.open == 2)
        gone.reset()
        await stays.send(b"hello")
        stays.shut_write()
        await until(lambda: port.open == 1)
        assert stays.silent()
        assert (port.refused, port.dropped) == (0, 0)

    async def test_a_waiting_user_is_closed_by_the_administrator(self, public: Public) -> None:
        user, stays = await public.user(), await public.user()
        (port,) = public.server.tunnel.ports.open.values()
        await until(lambda: port.open == 2)
        assert sum(public.server.close_users(Selection(port=user.address[1]))) == 1
        with pytest.raises(ConnectionResetError):
            await user.receive_some()
        assert (port.open, public.server.tunnel.waiting) == (1, 1)
        assert stays.silent()

    async def test_an_error_in_the_transport_costs_one_user(
        self, public: Public, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        await public.client()
        carrier = await public.tunnel_connection()
        transport = public.server.tunnel.transport
        await until(lambda: transport.idle)
        with monkeypatch.context() as broken:
            broken.setattr(transport, "assign", mock.Mock(side_effect=RuntimeError))
            with pytest.raises(ConnectionResetError):  # perhaps as soon as it is connected
                await (await public.user()).receive_some()
        (port,) = public.server.tunnel.ports.open.values()
        assert port.open == 0
        assert "RuntimeError" in caplog.text
        await public.user()
        await public.addressed(carrier)

    @pytest.mark.config("channel_size = 2")
    async def test_no_more_users_wait_than_channel_size(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        users = [await public.user() for _ in range(2)]
        with pytest.raises(ConnectionResetError):  # perhaps while it connects
            await (await public.user()).receive_some()
        assert users[0].silent()
        assert users[1].silent()
        assert "channel_size users wait already" in caplog.text
        (port,) = public.server.tunnel.ports.open.values()
        assert (port.open, port.total, port.refused, port.dropped) == (2, 3, 1, 0)


class TestIdleConnections:
    @pytest.mark.config("channel_size = 2")
    async def test_no_more_than_channel_size(self, public: Public) -> None:
        await public.client()
        kept = [await public.tunnel_connection() for _ in range(2)]
        surplus = await public.tunnel_connection()
        assert await surplus.receive_all() == b""
        assert all(carrier.silent() for carrier in kept)

    @pytest.mark.parametrize("end", [Peer.close, Peer.reset, Peer.shut_write])
    async def test_a_dead_connection_is_not_given_to_a_user(self, public: Public, end: object) -> None:
        assert callable(end)
        await public.client()
        dead, living = await public.tunnel_connection(), await public.tunnel_connection()
        await until(lambda: public.server.tunnel.transport.idle == 2)
        with socket.create_connection((HOST, public.user_port)):  # the server sees the user before ...
            end(dead)  # ... this, as both are there when it looks
            await public.addressed(living)

    async def test_a_connection_with_garbage_is_closed(self, public: Public) -> None:
        control = await public.client()
        carrier = await public.tunnel_connection()
        await carrier.send(b"\xff\xff\xff")
        assert await carrier.closed()
        assert control.silent()

    async def test_idle_connections_are_closed_with_their_control_channel(self, public: Public) -> None:
        control = await public.client()
        carrier = await public.tunnel_connection()
        await until(lambda: public.server.tunnel.transport.idle)
        control.close()
        assert await carrier.receive_all() == b""

    async def test_a_user_in_flight_survives_the_control_channel(self, public: Public) -> None:
        control = await public.client()
        carrier = await public.tunnel_connection()
        user = await public.user()
        await public.addressed(carrier)
        control.close()
        await until(lambda: not public.server.tunnel.connected)
        await carrier.send(b"answer")
        assert await user.receive(6) == b"answer"


class TestGoodbye:
    async def test_of_the_client(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        control = await public.client()
        await control.send(bytes([Signal.CLOSED]))
        assert await control.receive_all() == b""
        assert "control channel lost: the client closed it to stop or to reload" in caplog.text

    async def test_of_the_server(self, public: Public) -> None:
        control = await public.client()
        carrier = await public.tunnel_connection()
        await public.net.stop(public.server)
        assert await control.receive_all() == bytes([Signal.CLOSED])
        assert await carrier.receive_all() == b""

    async def test_waiting_users_are_reset(self, public: Public) -> None:
        user = await public.user()
        await until(lambda: public.server.tunnel.waiting == 1)
        await public.net.stop(public.server)
        assert not await user.closed()

    async def test_users_in_flight_may_finish(self, public: Public) -> None:
        await public.client()
        carrier = await public.tunnel_connection()
        user = await public.user()
        await public.addressed(carrier)
        stopping = asyncio.ensure_future(public.net.stop(public.server))
        await carrier.send(b"the end")
        carrier.close()
        assert await user.receive_all() == b"the end"
        await stopping

    @pytest.mark.config("shutdown_timeout = 0")
    async def test_users_who_do_not_finish_in_time_are_reset(self, public: Public) -> None:
        await public.client()
        carrier = await public.tunnel_connection()
        user = await public.user()
        await public.addressed(carrier)
        await public.net.stop(public.server)
        assert not await user.closed()
        assert not await carrier.closed()


class TestHalfCloseTowardsV072:
    """A v0.7.2 client takes a half-close for the end of both directions: the answer would be lost."""

    async def carried(self, public: Public) -> tuple[Peer, Peer]:
        await public.client()
        carrier = await public.tunnel_connection()
        user = await public.user()
        await user.send(b"request")
        await public.addressed(carrier)
        assert await carrier.receive(7) == b"request"
        return user, carrier

    async def test_the_users_end_is_held_back_until_the_answer(self, public: Public) -> None:
        user, carrier = await self.carried(public)
        user.shut_write()
        for _ in range(10):
            await carrier.send(b"answer")
            assert await user.receive(6) == b"answer"
            assert carrier.silent()
        carrier.close()
        assert await user.receive_all() == b""

    async def test_the_users_end_is_passed_on_once_no_bytes_move(self, public: Public) -> None:
        public.server.relay.patience = Patience(hold_back=0.05, sweep=0.02)
        user, carrier = await self.carried(public)
        user.shut_write()
        assert await carrier.receive_all() == b""
        await carrier.send(b"late answer")
        carrier.close()
        assert await user.receive_all() == b"late answer"

    async def test_the_end_of_a_silent_user_is_not_held_back(self, public: Public) -> None:
        public.server.relay.patience = Patience(hold_back=1e9, hold_back_answered=1e9)
        await public.client()
        carrier = await public.tunnel_connection()
        user = await public.user()
        await public.addressed(carrier)
        user.close()
        assert await carrier.receive_all() == b""

    async def test_the_carriers_end_is_the_end_of_both_directions(self, public: Public) -> None:
        user, carrier = await self.carried(public)
        carrier.shut_write()
        assert await user.receive_all() == b""
        assert await carrier.receive_all() == b""


async def test_early_bytes_of_a_user_leave_with_the_announcement(public: Public) -> None:
    await public.client()
    user = await public.user()
    await user.send(b"hello")
    carrier = await public.tunnel_connection()
    expected = header("192.0.2.1:80") + b"hello"
    assert await carrier.receive(len(expected)) == expected


@pytest.mark.config("so_sndbuf = 1\nmss = 88")  # the least that the kernel grants
async def test_with_the_smallest_send_buffer_nothing_is_lost(public: Public) -> None:
    await public.client()
    user = await public.user()
    data = bytes(range(256)) * 200
    await user.send(data)
    user.shut_write()
    carrier = await public.addressed(await public.tunnel_connection())
    assert await carrier.receive(len(data)) == data
