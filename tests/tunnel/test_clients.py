"""Several clients of one server, each with its own token and ports."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.support.clients import Company, ask, config_of, table, token_of
from tests.support.net import HOST, free_port, until
from tests.support.protected import ProtectedClient
from tests.support.tunnel import LEGACY, Net

from backhaul.config import ServerConfig
from backhaul.config.diff import diff
from backhaul.security.hello import ClientHello
from backhaul.state import MovedState
from backhaul.wire.peer import EXTENSIONS

TRANSPORTS = pytest.mark.parametrize("transport", ["tcp", "wsmux"])


async def reload(company: Company, config: ServerConfig) -> None:
    await company.server.reconfigure(config, diff(company.server.config, config))


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """Listen on a port, so that no other program can."""
    with socket.create_server((HOST, 0)) as sock:
        yield sock.getsockname()[1]


@TRANSPORTS
async def test_a_wrong_token_gets_nothing_from_the_address_of_a_client(transport: str) -> None:
    async with Net(transport) as net:
        company = Company(net)
        await company.start(["berlin"])
        stranger = await net.client(company.bind_port, f'token = "{token_of("paris")}"')
        for _ in range(20):
            (await company.user("berlin")).close()
        assert not stranger.tunnel.opened


@TRANSPORTS
async def test_a_lost_client_leaves_the_users_of_others_alone(transport: str) -> None:
    async with Net(transport) as net:
        company = Company(net)
        await company.start(["berlin", "paris"])
        user = await company.user("paris")
        await net.stop(company.clients["berlin"])
        await until(lambda: not company.server.tunnels["berlin"].connected)
        await ask(user, "paris")
        await company.user("paris")
        assert company.server.tunnels["paris"].opened == 1
        assert company.server.session().peer == "1 of 2 clients"


@TRANSPORTS
async def test_a_reload_touches_only_the_client_that_it_changes(transport: str) -> None:
    async with Net(transport) as net:
        company = Company(net)
        await company.start(["berlin", "paris"])
        user = await company.user("paris")
        other = await company.user("berlin")

        company.ports["rome"], company.targets["rome"] = free_port(), await net.echo(greeting=b"rome")
        await reload(company, company.config(own={"berlin": 'tokens = ["' + token_of("new") + '"]'}))
        await company.connect("rome")
        await company.user("rome")
        await until(lambda: not company.server.tunnels["berlin"].connected)  # its token is no longer valid

        del company.ports["rome"]
        await reload(company, company.config())
        assert "rome" not in company.server.tunnels
        await until(lambda: company.clients["berlin"].tunnel.connected)
        await company.user("berlin")

        await ask(other, "berlin")  # a new token ends no user
        await ask(user, "paris")
        assert company.server.tunnels["paris"].opened == 1


async def test_a_reload_opens_the_port_of_a_client_that_it_does_not_change() -> None:
    async with Net("tcp") as net:
        company = Company(net)
        with listening() as taken:
            company.ports["berlin"], company.targets["berlin"] = taken, await net.echo(greeting=b"berlin")
            await company.open(["paris"])
        await reload(company, company.config(own={"paris": "max_connections = 1"}))
        await company.connect("berlin")
        await company.user("berlin")


async def test_a_reload_changes_what_concerns_all_clients() -> None:
    async with Net("tcp") as net:
        company = Company(net)
        await company.open(["berlin", "paris"])
        await reload(company, company.config("heartbeat = 7"))
        assert [tunnel.config.heartbeat for tunnel in company.server.tunnels.values()] == [7, 7]


async def test_the_state_of_many_clients_is_made_in_turns() -> None:
    async with Net("tcp") as net:
        names = [f"client-{number}" for number in range(250)]
        server = await net.run(config_of("tcp", free_port(), "".join(map(table, names))))
        turns: list[int] = []
        survey = asyncio.ensure_future(server.survey())
        while not survey.done():
            await asyncio.sleep(0)
            turns.append(len(turns))
        assert survey.result() == server.state()
        assert [client.name for client in survey.result().clients] == names
        assert len(turns) > 2


async def test_both_ends_add_up_the_bytes_of_all_users() -> None:
    async with Net("tcp") as net:
        company = Company(net)
        await company.start(["berlin", "paris"])
        for name in ("berlin", "paris"):
            await company.user(name)
        assert company.server.moved() == MovedState(received=2, sent=len("berlin?paris?"))
        await until(lambda: company.clients["paris"].moved() == MovedState(received=1, sent=len("paris?")))


async def test_all_clients_of_a_site_may_return_at_once() -> None:
    async with Net("tcp") as net:
        net.limits = replace(net.limits, handshake_timeout=60.0)
        company = Company(net)
        names = [f"client-{number}" for number in range(70)]
        await company.open(names)
        hello = ClientHello("tcp", features=tuple(EXTENSIONS))
        clients = [
            await ProtectedClient.greet(await net.dial(company.bind_port), hello, token_of(name)) for name in names
        ]
        for client in clients:
            await client.confirm()
        assert company.server.session().peer == "70 of 70 clients"


async def test_a_port_moves_from_one_client_to_another() -> None:
    async with Net("tcp") as net:
        company = Company(net)
        await company.start(["berlin", "paris"])
        ports = company.ports
        ports["berlin"], ports["paris"] = ports["paris"], ports["berlin"]
        await reload(company, company.config())
        await company.user("berlin")
        await company.user("paris")


async def test_a_client_has_no_more_users_than_it_may() -> None:
    async with Net("tcp") as net:
        company = Company(net)
        await company.start(["berlin", "paris"], own={"berlin": "max_connections = 1"})
        user = await company.user("berlin")
        with pytest.raises((ConnectionResetError, EOFError)):
            await company.user("berlin")
        await company.user("paris")
        (port,) = company.server.tunnels["berlin"].state().ports
        assert {(refusal.reason, refusal.count) for refusal in port.refusals} == {("client_users", 1)}
        user.close()
        await until(lambda: not company.server.tunnels["berlin"].places.users)
        await company.user("berlin")


@TRANSPORTS
async def test_a_client_of_v072_is_one_of_many(transport: str) -> None:
    async with Net(transport) as net:
        company = Company(net)
        await company.start(["berlin"])
        company.ports["old"], company.targets["old"] = free_port(), await net.echo(greeting=b"old")
        await reload(company, company.config())
        await company.connect("old", LEGACY)
        for _ in range(5):
            await company.user("old")
            await company.user("berlin")


async def test_the_client_without_a_name_stays_beside_named_ones() -> None:
    async with Net("tcp") as net:
        company = Company(net)
        port, target = free_port(), await net.echo(greeting=b"first")
        await company.start(["berlin"], f'token = "{token_of("")}"\nports = ["{HOST}:{port}={target}"]')
        await net.client(company.bind_port, f'token = "{token_of("")}"')
        await until(lambda: company.server.tunnels[""].connected)
        user = await net.dial(port)
        await user.send(b"?")
        assert await user.receive(6) == b"first?"
        await company.user("berlin")


async def test_a_drained_server_refuses_users_of_every_client() -> None:
    async with Net("tcp") as net:
        company = Company(net)
        await company.start(["berlin", "paris"])
        await company.server.drain()
        for name in company.ports:
            with pytest.raises((ConnectionRefusedError, ConnectionResetError, EOFError)):
                await company.user(name)
        await company.server.resume()
        await company.user("paris")
