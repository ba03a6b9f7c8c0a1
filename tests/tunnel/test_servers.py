"""A client with several servers."""

import socket

import pytest
from tests.support.middlebox import Line, Middlebox
from tests.support.names import Names
from tests.support.net import HOST, echo, free_port, until, until_reset
from tests.support.tunnel import LEGACY, Net, change, client_config

from backhaul.client import Client
from backhaul.errors import BackhaulError, TransportError
from backhaul.monitor.events import EventLog
from backhaul.net.resolver import Found
from backhaul.overview import reader
from backhaul.server import Server

OTHER_HOST = "127.0.0.2"
OTHER = "wssmux"  # the transport of the second server


class Two:
    """Two servers with different transports, and a user's port on each."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.ports = [free_port(), free_port(OTHER_HOST)]
        self.user_ports = [free_port(), free_port()]
        self.target = 0

    async def start(self, place: int) -> Server:
        """Start one of them."""
        self.target = self.target or await self.net.echo()
        self.net.transport, host = [("tcp", HOST), (OTHER, OTHER_HOST)][place]
        mapping = f"{HOST}:{self.user_ports[place]}={self.target}"
        return await self.net.server(self.ports[place], [mapping], host=host, shutdown_timeout=0)

    @property
    def lines(self) -> str:
        """The line of the client's configuration."""
        return f'servers = [{{ addr = "{OTHER_HOST}:{self.ports[1]}", transport = "{OTHER}" }}]'

    async def client(self, mode: str = "order") -> Client:
        """Start the client of both."""
        self.net.transport = "tcp"
        return await self.net.client(self.ports[0], f'{self.lines}\nservers_mode = "{mode}"')


@pytest.fixture
def two(net: Net) -> Two:
    net.timings = {"stable": 0.1, "names": 0.05}
    return Two(net)


def in_use(client: Client) -> list[str]:
    return [server.name for server in client.state().servers if server.in_use]


def connected(client: Client) -> list[str]:
    return sorted(server.name for server in client.state().servers if server.session.connected)


async def test_in_order_the_next_server_serves_while_the_first_is_away(
    net: Net, two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "backhaul.client")
    second, client = await two.start(1), await two.client()
    told: list[str] = []
    client.news.listener = lambda notice: told.append(notice.server)
    await until(lambda: second.tunnel.connected)
    user = await net.dial(two.user_ports[1])
    await echo(user, b"through the second")
    first = await two.start(0)
    names = [f"{HOST}:{two.ports[0]}", f"{OTHER_HOST}:{two.ports[1]}"]
    await until(lambda: in_use(client) == names[:1] and not second.tunnel.connected)
    assert first.tunnel.opened == second.tunnel.opened == 1
    await echo(user, b"a user in flight stays")
    await echo(await net.dial(two.user_ports[0]), b"through the first")
    assert told == [names[1], names[0]]
    assert f"{names[1]}: dialled too" in caplog.text
    assert f"{names[1]}: left" in caplog.text


async def test_a_first_server_that_works_is_the_only_one(net: Net, two: Two) -> None:
    first, second = await two.start(0), await two.start(1)
    client = await two.client()
    await until(lambda: first.tunnel.connected)
    await echo(await net.dial(two.user_ports[0]), b"through the first")
    assert not second.tunnel.opened
    await net.stop(first)
    await until(lambda: second.tunnel.connected)
    await echo(await net.dial(two.user_ports[1]), b"through the second")
    assert client.session().connected


async def test_together_both_servers_serve_and_one_lost_costs_its_users_only(net: Net, two: Two) -> None:
    first, second = await two.start(0), await two.start(1)
    client = await two.client("all")
    await until(lambda: first.tunnel.connected and second.tunnel.connected)
    users = [await net.dial(port) for port in two.user_ports]
    for user in users:
        await echo(user, b"hello")
    assert client.session().peer == f"{HOST}, {OTHER_HOST}"
    status = reader(client.state, EventLog())()
    assert [(one.transport, one.state) for one in status.servers] == [
        ("tcp", f"connected to {HOST}"),
        (OTHER, f"connected to {OTHER_HOST}"),
    ]
    await net.stop(first)
    assert not await until_reset(users[0])
    await echo(users[1], b"still here")
    assert client.session().connected
    assert second.tunnel.opened == 1


@pytest.mark.parametrize("any_net", ["tcp", "wsmux"], indirect=True)
async def test_together_two_ways_to_one_server_do_not_replace_each_other_for_ever(any_net: Net) -> None:
    server = await any_net.server(bind_port := free_port())
    ways = [any_net.middlebox(bind_port) for _ in range(2)]
    more = f'servers = [{{ addr = "{HOST}:{ways[1].port}" }}]\nservers_mode = "all"'
    client = await any_net.client(ways[0].port, more)

    def sessions() -> list[tuple[bool, str]]:
        return [(one.session.connected, one.session.problem) for one in client.state().servers]

    yields = (False, "another tunnel of this client leads to the same server")
    await until(lambda: sorted(sessions()) == [yields, (True, "")] and server.tunnel.connected)
    assert server.tunnel.opened == 2
    waits = sessions().index(yields)
    await any_net.remove(ways[1 - waits])
    await until(lambda: sessions()[waits] == (True, "") and server.tunnel.connected)
    assert server.tunnel.opened == 3


async def test_two_ways_to_one_server_are_not_used_at_a_time(net: Net) -> None:
    net.timings = {"stable": 1000}
    server = await net.server(bind_port := free_port())
    way = free_port()
    client = await net.client(way, f'servers = [{{ addr = "{HOST}:{bind_port}" }}]')
    await until(lambda: server.tunnel.connected)
    box = Middlebox(net.listen(way), bind_port, Line())
    try:
        await until(lambda: in_use(client) == [f"{HOST}:{way}"] == connected(client) and server.tunnel.connected)
        assert server.tunnel.opened == 2
        await net.stop(client)
    finally:
        await box.close()


async def test_a_reload_touches_only_the_server_that_comes_or_goes(net: Net, two: Two) -> None:
    first, second = await two.start(0), await two.start(1)
    net.transport = "tcp"
    client = await net.client(two.ports[0])
    await until(lambda: first.tunnel.connected)
    remote = f"{HOST}:{two.ports[0]}"
    await client.reconfigure(client_config("tcp", remote, f'{two.lines}\nservers_mode = "all"'))
    await until(lambda: second.tunnel.connected)
    user = await net.dial(two.user_ports[1])
    await echo(user, b"hello")
    await client.reconfigure(client_config("tcp", remote))
    await until(lambda: not second.tunnel.connected)
    await echo(user, b"a user in flight stays")
    assert first.tunnel.connected
    assert first.tunnel.opened == 1
    assert [server.name for server in client.state().servers] == [remote]


async def test_a_reload_that_fails_changes_nothing(net: Net, two: Two) -> None:
    server, client = await two.start(0), await two.client()
    await until(lambda: server.tunnel.connected)
    before, patience = client.config, client.relay.patience
    lines = 'tls_verify = true\ntls_ca = "/dev/null"\nhalf_close_timeout = 7'
    with pytest.raises(BackhaulError, match="tls_ca"):
        await client.reconfigure(client_config(OTHER, f"{HOST}:{two.ports[0]}", lines))
    assert (client.config, client.relay.patience) == (before, patience)
    await echo(await net.dial(two.user_ports[0]), b"as before")
    assert server.tunnel.opened == 1


async def test_the_best_server_takes_the_place_of_a_slow_one(net: Net, two: Two) -> None:
    net.timings = {"measure": 0.001}
    slow, fast = await two.start(0), await two.start(1)
    two.ports[0] = net.middlebox(two.ports[0], Line(delay=0.02)).port
    client = await two.client("best")
    await until(lambda: slow.tunnel.connected)
    user = await net.dial(two.user_ports[0])
    await echo(user, b"hello")
    await until(lambda: fast.tunnel.connected and not slow.tunnel.connected)
    assert in_use(client) == [f"{OTHER_HOST}:{two.ports[1]}"]
    await echo(user, b"a user in flight stays")
    await net.stop(fast)
    await until(lambda: slow.tunnel.connected)


async def test_a_question_costs_a_tunnel_nothing(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())
    transport = tunnel.client.tunnel.transport
    assert transport.measurable
    answer = await transport.measure()
    assert answer.seconds > 0
    assert answer.resent >= 0
    await echo(await tunnel.user(), b"hello")
    assert (tunnel.server.tunnel.opened, tunnel.client.tunnel.opened) == (1, 1)


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_a_server_that_does_not_answer_a_question_is_not_asked_again(net: Net, transport: str) -> None:
    """A server of v0.7.2 would use the connection for a user."""
    net.transport = transport
    server = await net.server(port := free_port(), lines=LEGACY)
    client = await net.client(port)
    asked = client.tunnel.transport
    assert asked.measurable
    with pytest.raises(TransportError):
        await asked.measure()
    assert not asked.measurable
    await until(lambda: server.tunnel.connected)


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_a_server_that_would_refuse_the_client_is_no_good_one(
    net: Net, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    net.transport = transport
    await net.server(port := free_port())
    net.transport = f"{transport}mux"
    client = await net.client(port, retry_interval=3600.0)
    await until(lambda: "can't connect" in caplog.text)  # the end of its attempt would cancel the question
    with pytest.raises(TransportError, match="transport"):
        await client.tunnel.transport.measure()


class Addresses:
    """A name server that knows one name."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    def __call__(self, name: str) -> Found:
        assert name == "servers.test"
        if not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return tuple((socket.AF_INET, (host, 0)) for host in self.hosts)


async def test_every_address_of_a_name_is_a_server(net: Net, two: Two) -> None:
    port, names = free_port(), Addresses(HOST)
    ends = [f"{host}:{port}" for host in (HOST, OTHER_HOST)]
    first, second = await net.server(port), await net.server(port, host=OTHER_HOST)
    client = await net.client(port, host="all:servers.test", names=names)
    await until(lambda: first.tunnel.connected)
    assert connected(client) == ends[:1]
    names.hosts = (HOST, OTHER_HOST)
    await until(lambda: second.tunnel.connected)
    names.hosts = (HOST,)  # a part of them, as some name servers answer: nobody loses a connected server
    await net.stop(second)
    await until(lambda: in_use(client) == ends[:1])
    assert first.tunnel.opened == 1
    names.hosts = ()
    second = await net.server(port, host=OTHER_HOST)
    names.hosts = (OTHER_HOST,)
    await until(lambda: second.tunnel.connected)
    assert first.tunnel.connected


async def test_a_name_without_addresses_is_a_server_that_fails(
    net: Net, two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    second = await two.start(1)
    net.transport = "tcp"
    client = await net.client(two.ports[0], two.lines, host="all:servers.test", names=Addresses())
    await until(lambda: second.tunnel.connected)
    problem = f"can't look up all:servers.test:{two.ports[0]}: no such name"
    assert problem in caplog.text
    assert client.state().servers[0].session.problem == problem


async def test_a_user_of_a_server_that_was_left_is_counted_once(net: Net) -> None:
    """The user's target is still being dialled."""
    port, user_port, names = free_port(), free_port(), Names(servers_test=HOST)
    server = await net.server(port, [f"{HOST}:{user_port}=silent.test:80"])
    client = await net.client(port, host="all:servers.test", names=names)
    await until(lambda: server.tunnel.connected)
    user = await net.dial(user_port)
    await until(lambda: client.state().dialling)
    opened = server.tunnel.opened
    await change(client, keepalive_period=33)
    await until(lambda: server.tunnel.opened > opened)
    assert client.state().dialling == 1
    assert len(list(client.users())) == 1
    names.let_go()
    await user.closed()
