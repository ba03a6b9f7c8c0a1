"""Clients of one server that try to get what belongs to others, or to keep them away."""

from dataclasses import replace

import pytest
from tests.support.clients import Company, token_of
from tests.support.net import until
from tests.support.protected import ProtectedClient
from tests.support.tunnel import LEGACY, Net

from backhaul.config.diff import diff
from backhaul.security.hello import ClientHello
from backhaul.wire.peer import EXTENSIONS

NEW = token_of("new")


@pytest.mark.parametrize("lines", ["", LEGACY])
@pytest.mark.parametrize("transport", ["tcp", "wsmux"])
async def test_a_token_that_is_changed_while_its_bearer_waits_opens_nothing(transport: str, lines: str) -> None:
    async with Net(transport) as net:
        net.limits = replace(net.limits, sign_of_life=60.0, head_timeout=60.0, handshake_timeout=60.0)
        company = Company(net)
        await company.open(["berlin", "paris"])
        middlebox = net.middlebox(company.bind_port)
        own = f'token = "{token_of("berlin")}"'
        await net.client(middlebox.port, own)
        await until(lambda: company.server.tunnels["berlin"].connected)
        middlebox.paths[0].freeze()
        await net.client(company.bind_port, f"{own}\n{lines}")
        await company.connect("paris")  # the other one's handshake has arrived before
        new = company.config(own={"berlin": f'token = "{NEW}"'})
        await company.server.reconfigure(new, diff(company.server.config, new))
        right = await net.client(company.bind_port, f'token = "{NEW}"')
        await until(lambda: right.tunnel.connected and company.server.tunnels["berlin"].opened > 1)
        assert company.server.tunnels["berlin"].opened == 2


async def test_a_client_keeps_no_other_one_at_its_address_away(caplog: pytest.LogCaptureFixture) -> None:
    async with Net("tcp") as net:
        net.limits = replace(net.limits, handshake_timeout=60.0)
        company = Company(net)
        await company.open(["berlin", "paris"])
        for _ in range(32):  # as many as one may leave unconfirmed
            await ProtectedClient.greet(await net.dial(company.bind_port), ClientHello("tcp"), token_of("paris"))
        await company.connect("berlin")
        assert "is not protected" not in caplog.text


async def test_a_client_with_many_addresses_displaces_no_handshake_of_another() -> None:
    async with Net("tcp") as net:
        net.limits = replace(net.limits, handshake_timeout=60.0)
        company = Company(net)
        await company.open(["berlin", "paris"])
        hello = ClientHello("tcp", features=tuple(EXTENSIONS))
        client = await ProtectedClient.greet(await net.dial(company.bind_port), hello, token_of("berlin"))
        for number in range(1, 66):  # more than a server with few clients keeps
            peer = await net.dial(company.bind_port, source=f"127.0.1.{number}")
            await ProtectedClient.greet(peer, hello, token_of("paris"))
        await client.confirm()
        assert company.server.tunnels["berlin"].connected
