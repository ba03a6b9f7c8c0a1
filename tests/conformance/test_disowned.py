"""A client whose server knows its control channel no more, though the client's end of it looks alive."""

import pytest
from tests.support.net import HOST, echo, free_port, until
from tests.support.torn import Torn
from tests.support.tunnel import Net

MUX = ["tcpmux", "wsmux", "wssmux"]
PATIENT = {"suspicion": 3600.0}  # seconds: answers have taken long


@pytest.fixture
async def patient(any_net: Net) -> Net:
    any_net.timings = PATIENT
    return any_net


@pytest.mark.parametrize("any_net", MUX, indirect=True)
async def test_a_session_that_the_server_refuses_to_resume_shows_it(patient: Net) -> None:
    torn = await Torn.start(patient)
    user = await torn.user()
    await torn.middlebox.paths[0].forget()
    await until(lambda: not torn.server.tunnel.connected)
    for path in torn.middlebox.paths[1:]:
        await path.cut()
    await echo(user, b"still here")
    assert torn.client.tunnel.opened == 2


@pytest.mark.parametrize("any_net", [*MUX, "ws", "wss"], indirect=True)  # on tcp a refusal looks like any other end
async def test_a_tunnel_connection_that_the_server_refuses_shows_it(patient: Net) -> None:
    bind_port, port = free_port(), free_port()
    server = await patient.server(bind_port, [f"{HOST}:{port}={await patient.echo()}"])
    middlebox = patient.middlebox(bind_port)
    client = await patient.client(middlebox.port, "connection_pool = 1")
    await until(lambda: len(middlebox.paths) > 1 and server.tunnel.connected)
    await middlebox.paths[0].forget()
    await until(lambda: not server.tunnel.connected)
    for path in middlebox.paths[1:]:
        await path.cut()
    await until(lambda: client.tunnel.opened == 2)
    await echo(await patient.dial(port), b"hello")
