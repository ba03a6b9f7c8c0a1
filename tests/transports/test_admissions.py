"""Admissions on the tunnel's port of a server: valid ones, and others."""

import asyncio
import secrets

import pytest
from tests.support.net import cuts, until
from tests.support.protected_client import ProtectedClient, connected, framed, rejected, target_on
from tests.support.public import TARGET, Public

from backhaul.security import kinds
from backhaul.wire.blocks import HEADER_SIZE, payload_header
from backhaul.wire.frames import HEAD_SIZE, Sealed, encode, sealed_message

OTHER_ADDRESS = "127.0.0.2"


@pytest.mark.parametrize("source", ["", OTHER_ADDRESS])
async def test_they_come_from_every_address(public: Public, source: str) -> None:
    client = await connected(public)
    carrier, opener = await client.carrier(source)
    user = await public.user()
    assert await target_on(carrier, opener) == (kinds.TCP, TARGET.encode(), b"")
    await user.send(b"hello")
    assert await carrier.receive(HEADER_SIZE + 5) == payload_header(5) + b"hello"


@pytest.mark.parametrize("source", ["", OTHER_ADDRESS])
async def test_they_come_byte_by_byte(public: Public, source: str) -> None:
    client = await connected(public)
    data, seals = client.admission()
    carrier = await public.tunnel_connection(source)
    for byte in cuts(data, 1):
        await carrier.send(byte)
        await asyncio.sleep(0)
    await until(lambda: public.server.tunnel.transport.idle == 1)
    await public.user()
    assert (await target_on(carrier, seals.opener)).body == TARGET.encode()


@pytest.mark.parametrize("source", ["", OTHER_ADDRESS])
async def test_a_recording_admits_nothing(public: Public, source: str) -> None:
    client = await connected(public)
    data, _ = client.admission()
    first = await public.tunnel_connection()
    await first.send(data)
    await until(lambda: public.server.tunnel.transport.idle == 1)
    await rejected(public, data, source)
    assert public.server.tunnel.transport.idle == 1
    assert first.silent()


async def test_they_come_in_any_order(public: Public) -> None:
    client = await connected(public)
    admissions = [client.admission() for _ in range(5)]
    for data, _ in reversed(admissions):
        await (await public.tunnel_connection()).send(data)
    await until(lambda: public.server.tunnel.transport.idle == 5)


async def test_one_before_the_confirmation_confirms(public: Public) -> None:
    client = await ProtectedClient.dial(public.net, public.port)
    await client.carrier()
    await until(lambda: public.server.tunnel.transport.idle == 1)
    assert public.server.tunnel.connected


async def test_one_of_a_session_that_has_ended_admits_nothing(public: Public) -> None:
    client = await connected(public)
    client.control.close()
    await until(lambda: not public.server.tunnel.connected)
    await rejected(public, client.admission()[0])


async def test_one_of_a_session_that_was_replaced_admits_nothing(public: Public) -> None:
    first = await connected(public)
    second = await connected(public)
    await rejected(public, first.admission()[0])
    await second.carrier()
    await until(lambda: public.server.tunnel.transport.idle == 1)


@pytest.mark.limits(changeover=0.0)
async def test_a_changed_or_cut_one_admits_nothing(public: Public, caplog: pytest.LogCaptureFixture) -> None:
    client = await connected(public)
    data, _ = client.admission()
    message = sealed_message(data[HEAD_SIZE:])
    for place in (0, 11, 12, 27, 39):
        changed = bytearray(message)
        changed[place] ^= 1
        await rejected(public, framed(Sealed.ADMISSION, bytes(changed)))
    for cut in (0, 37, 39):
        await rejected(public, framed(Sealed.ADMISSION, message[:cut]))
    await rejected(public, encode(data[2], message))
    assert "refused a connection from 127.0.0.1: it belongs to no client that is connected" in caplog.text
    carrier = await public.tunnel_connection()
    await carrier.send(data)
    await until(lambda: public.server.tunnel.transport.idle == 1)


async def test_before_any_client_one_is_one_of_the_last_process_and_no_failure(
    public: Public, caplog: pytest.LogCaptureFixture
) -> None:
    await rejected(public, framed(Sealed.ADMISSION, secrets.token_bytes(80)))
    assert "refused" not in caplog.text


async def test_a_neighbour_with_a_session_is_no_mismatch(public: Public) -> None:
    await connected(public)
    await rejected(public, bytes([1, 3]) + bytes(300))  # what a session of v0.7.2 begins with
    assert not public.server.tunnel.problem


async def test_silence_admits_nothing(public: Public) -> None:
    await connected(public)
    neighbour = await public.tunnel_connection()
    assert await neighbour.receive_all() == b""
