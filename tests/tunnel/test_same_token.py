"""Two clients with one token, and two clients at one address."""

import contextlib
from dataclasses import replace

import pytest
from tests.support.clients import Company, token_of
from tests.support.net import free_port, until
from tests.support.protected import ProtectedClient
from tests.support.tunnel import LEGACY, Net

from backhaul.config.diff import diff
from backhaul.security.hello import ClientHello
from backhaul.wire.signals import Signal

TRANSPORTS = pytest.mark.parametrize("transport", ["tcp", "wsmux"])
SAME = f'token = "{token_of("berlin")}"'
REFUSED = "a client with the same token is connected from 127.0.0.1; give each its own token"


async def last_of(client: ProtectedClient) -> Signal:
    """Return the last message on a control channel that the server closes."""
    last = await client.control.receive()
    with contextlib.suppress(EOFError):
        while True:
            last = await client.control.receive()
    return last


@TRANSPORTS
async def test_a_second_client_is_refused_until_the_first_has_left(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Net(transport) as net:
        company = Company(net)
        await company.start(["berlin", "paris"])
        second = await net.client(company.bind_port, SAME)
        await until(lambda: f"refused by the server: {REFUSED}" in caplog.text)
        assert f"refused client berlin at 127.0.0.1: {REFUSED}" in caplog.text
        assert company.clients["berlin"].tunnel.connected
        assert company.server.tunnels["berlin"].opened == 1
        await net.stop(company.clients["berlin"])
        await until(lambda: second.tunnel.connected and company.server.tunnels["berlin"].connected)
        assert company.server.tunnels["paris"].opened == 1


@TRANSPORTS
async def test_a_second_client_of_v072_is_refused(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Net(transport) as net:
        company = Company(net)
        await company.start(["berlin"])
        await net.client(company.bind_port, f"{SAME}\n{LEGACY}")
        await until(lambda: f"refused client berlin at 127.0.0.1: {REFUSED}" in caplog.text)
        assert company.clients["berlin"].tunnel.connected


async def test_a_client_that_gives_no_sign_of_life_makes_room() -> None:
    async with Net("tcp") as net:
        net.limits = replace(net.limits, sign_of_life=0.05)
        company = Company(net)
        await company.open(["berlin"])
        silent = await ProtectedClient.connect(
            await net.dial(company.bind_port), ClientHello("tcp"), token_of("berlin")
        )
        await until(lambda: company.server.tunnels["berlin"].connected)
        await company.connect("berlin")
        await until(lambda: company.server.tunnels["berlin"].opened == 2)
        assert await silent.control.receive() == Signal.PROBE
        assert await last_of(silent) == Signal.REPLACED


async def test_a_token_that_is_removed_while_a_client_waits_admits_no_client() -> None:
    async with Net("tcp") as net:
        net.limits = replace(net.limits, sign_of_life=1.5)
        company = Company(net)
        await company.open(["berlin"])
        silent = await ProtectedClient.connect(
            await net.dial(company.bind_port), ClientHello("tcp"), token_of("berlin")
        )
        await until(lambda: company.server.tunnels["berlin"].connected)
        second = await net.client(company.bind_port, SAME)
        while await silent.control.receive() != Signal.PROBE:
            pass
        new = company.config(own={"berlin": 'tokens = ["bh1_another"]'})
        await company.server.reconfigure(new, diff(company.server.config, new))
        await until(lambda: second.tunnel.standing.view(connected=False).failures > 1)
        assert not second.tunnel.opened
        assert company.server.tunnels["berlin"].opened == 1


async def test_a_client_replaces_its_own_control_channel_at_once() -> None:
    async with Net("tcp") as net:
        net.limits = replace(net.limits, sign_of_life=60.0)
        company = Company(net)
        await company.open(["berlin"])
        hello = ClientHello("tcp", instance=b"one of these")
        before, _ = [
            await ProtectedClient.connect(await net.dial(company.bind_port), hello, token_of("berlin"))
            for _ in range(2)
        ]
        await until(lambda: company.server.tunnels["berlin"].opened == 2)
        assert await last_of(before) == Signal.RENEWED


async def test_two_clients_of_v072_at_one_address_are_not_mixed_up(caplog: pytest.LogCaptureFixture) -> None:
    async with Net("tcp") as net:
        company = Company(net)
        await company.open(["berlin", "paris"])
        await company.connect("berlin", LEGACY)
        await net.client(company.bind_port, f'token = "{token_of("paris")}"\n{LEGACY}')
        line = "no user of client paris can be carried: client berlin at 127.0.0.1 runs v0.7.2"
        await until(lambda: line in caplog.text)
        assert company.clients["berlin"].tunnel.connected
        assert not company.server.tunnels["paris"].opened


async def test_two_clients_of_v072_behind_one_address_share_it_on_http() -> None:
    async with Net("wsmux") as net:
        company = Company(net)
        await company.open(["berlin", "paris"])
        await company.connect("berlin", LEGACY)
        await company.connect("paris", LEGACY)
        for name, port in company.ports.items():
            user = await net.dial(port)
            await user.send(b"?")
            assert await user.receive(len(name) + 1) == f"{name}?".encode()


async def test_a_token_that_moves_to_another_client_is_that_clients() -> None:
    async with Net("tcp") as net:
        company = Company(net)
        await company.start(["berlin"])
        company.ports["rome"], company.targets["rome"] = free_port(), await net.echo(greeting=b"rome")
        new = company.config(own={"rome": f'tokens = ["{token_of("berlin")}"]', "berlin": 'tokens = ["another one"]'})
        await company.server.reconfigure(new, diff(company.server.config, new))
        await until(lambda: company.server.tunnels["rome"].connected)
        assert not company.server.tunnels["berlin"].connected
