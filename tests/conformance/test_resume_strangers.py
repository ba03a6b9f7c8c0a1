"""Sessions that one client asks for, and that belong to another one of the server."""

import secrets

import pytest
from tests.support.clients import config_of, table, token_of
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.protected_client import ProtectedClient, client_settings, framed
from tests.support.torn import Torn, sessions, with_resumption
from tests.support.tunnel import Net

from backhaul.mux.greeting import Answer, Greeting, encode_greeting, first_reader, frame, read_answer
from backhaul.security import kinds
from backhaul.security.session import NONCE_SIZE, Admission
from backhaul.wire.frames import Sealed

HIGH = 1 << 62  # an attempt to resume a session that is later than all of its owner


async def admitted(client: ProtectedClient) -> tuple[Peer, Admission]:
    """Return a connection that is to resume a session."""
    admission = client.agreement.terms.admissions.next(secrets.token_bytes(NONCE_SIZE), resumes=True)
    carrier = await client.net.dial(client.port)
    await carrier.send(framed(Sealed.ADMISSION, admission.data))
    return carrier, admission


async def resumed(client: ProtectedClient, identity: bytes) -> Answer | None:
    """Return the server's answer to a connection that resumes a session, which may be none."""
    carrier, admission = await admitted(client)
    greeting = encode_greeting(Greeting(identity, HIGH, received=0))
    await carrier.send(frame(admission.seals, kinds.RESUME, greeting, messages=False, masked=True))
    reader = first_reader(admission.seals.opener, messages=False, masked=False)
    while not (record := reader.feed(await carrier.receive(1))):
        pass
    answer = read_answer(record)
    if answer is None:
        assert not await carrier.receive_all()
    return answer


@pytest.mark.parametrize("any_net", ["tcpmux"], indirect=True)
@pytest.mark.parametrize("connected", [True, False])
async def test_a_client_gets_no_session_of_another_one(any_net: Net, *, connected: bool) -> None:
    """It knows the other one's identity of the session, as no client can, and is at its address."""
    bind_port, port = free_port(), free_port()
    tables = table("berlin", [f"{HOST}:{port}={await any_net.echo()}"]) + table("paris")
    server = await any_net.run(config_of("tcpmux", bind_port, tables, with_resumption("")))
    way = any_net.middlebox(bind_port)
    own = f'connection_pool = 1\ntoken = "{token_of("berlin")}"'
    owner = await any_net.client(way.port, with_resumption(own))
    await until(lambda: server.tunnels["berlin"].connected and sessions(owner))
    torn = Torn(any_net, server, owner, way, port)
    user = await torn.user()
    settings = client_settings(token=token_of("paris"))
    stranger = await (await ProtectedClient.dial(any_net, bind_port, settings=settings)).confirm()
    if not connected:
        way.most = 0  # the session has no connection when the stranger asks for it
        await torn.cut()
        await until(lambda: server.relay.resumption.parked)
    for session in sessions(owner):
        assert await resumed(stranger, session.identity) is None
    way.most = 10
    await torn.cut()
    await until(lambda: torn.resumed.resumes and not torn.resumed.parked)
    await echo(user, b"still mine")
    assert server.tunnels["paris"].places.users == 0


@pytest.mark.parametrize("any_net", ["tcpmux"], indirect=True)
async def test_connections_that_name_no_session_make_room_for_one_that_does(any_net: Net) -> None:
    bind_port = free_port()
    await any_net.server(bind_port, channel_size=2)
    client = await (await ProtectedClient.dial(any_net, bind_port)).confirm()
    silent = [carrier for carrier, _ in [await admitted(client) for _ in range(2)]]
    assert await resumed(client, b"of no session") is None
    assert not await silent[0].receive_all()
