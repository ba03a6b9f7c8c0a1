"""Groups of clients that serve the same ports."""

import asyncio
from collections import Counter

import pytest
from tests.support.clients import Company
from tests.support.middlebox import Middlebox
from tests.support.net import HOST, Peer, free_port, until
from tests.support.tunnel import Net

from backhaul.config import ServerConfig
from backhaul.config.diff import diff
from backhaul.errors import BackhaulError
from backhaul.state import MemberState

NAMES = ("berlin", "paris", "rome")
BULK = 200_000  # bytes, which would take 200 seconds at 8000 bit/s


class Panel:
    """A group of three clients; the service of each sends its name."""

    def __init__(self, net: Net) -> None:
        self.company = Company(net)
        self.net = net
        self.port = free_port()
        self.target = free_port()
        self.balance = "least"
        self.names: tuple[str, ...] = NAMES
        self.own: dict[str, str] = {}

    async def start(self) -> None:
        """Start the server and all clients, each of which finds its own service behind the same target."""
        await self.company.open(NAMES)
        await self.reload()
        for name in NAMES:
            await self.company.connect(name)

    def config(self) -> ServerConfig:
        """Return the configuration with the group."""
        clients = ", ".join(f'"{name}"' for name in self.names)
        group = (
            f'[server.groups.panel]\nports = ["{HOST}:{self.port}={self.target}"]\n'
            f'clients = [{clients}]\nbalance = "{self.balance}"\n'
        )
        return self.company.config(group, self.own)

    async def reload(self) -> None:
        """Load the present configuration."""
        new = self.config()
        await self.company.server.reconfigure(new, diff(self.company.server.config, new))

    async def user(self, source: str = "") -> Peer:
        """Connect a user, who is answered."""
        user = await self.net.dial(self.port, source=source)
        await user.send(b"?")
        assert await user.receive(1) == b"?"
        return user

    def members(self) -> tuple[MemberState, ...]:
        """Return the states of all members."""
        (group,) = self.company.server.state().groups
        return group.members

    def shares(self) -> dict[str, int]:
        """Return the users of each member."""
        return {member.client: member.users for member in self.members()}

    def states(self) -> dict[str, str]:
        """Return why a member gets no users, or that it gets some."""
        return {member.client: member.state for member in self.members()}


async def panel_of(net: Net, **changes: object) -> Panel:
    panel = Panel(net)
    for name, value in changes.items():
        setattr(panel, name, value)
    await net.echo(port=panel.target)
    await panel.start()
    return panel


@pytest.mark.parametrize("transport", ["tcp", "wsmux"])
async def test_users_are_shared_evenly(transport: str) -> None:
    async with Net(transport) as net:
        panel = await panel_of(net)
        users = [await panel.user() for _ in range(9)]
        assert panel.shares() == dict.fromkeys(NAMES, 3)
        served = Counter(user.client for user in panel.company.server.users())
        assert served == dict.fromkeys(NAMES, 3)
        for user in users:
            user.close()
        await until(lambda: panel.shares() == dict.fromkeys(NAMES, 0))
        assert not any(client.users for client in panel.company.server.state().clients)


async def test_a_lost_member_gets_no_users_and_the_others_keep_theirs() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net)
        users = [await panel.user() for _ in range(3)]
        await net.stop(panel.company.clients["paris"])
        await until(lambda: not panel.company.server.tunnels["paris"].connected)
        more = [await panel.user() for _ in range(4)]
        assert panel.shares() == {"berlin": 3, "paris": 0, "rome": 3}
        assert panel.states() == {"berlin": "ready", "paris": "not connected", "rome": "ready"}
        assert len([user for user in users if user.silent()]) == 2
        await panel.company.connect("paris")
        more += [await panel.user() for _ in range(3)]
        assert panel.shares() == dict.fromkeys(NAMES, 3)
        assert all(user.silent() for user in more)


async def test_the_first_in_order_serves_until_it_is_full() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net, balance="order", own={"berlin": "max_connections = 2"})
        for _ in range(4):
            await panel.user()
        assert panel.shares() == {"berlin": 2, "paris": 2, "rome": 0}


async def test_the_next_member_serves_while_one_has_enough_new_users() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net, balance="order", own={"berlin": "new_users_per_second = 1"})
        for _ in range(20):
            await panel.user()
        shares = panel.shares()
        assert 0 < shares["berlin"] < 20  # however slow this machine is, they take less than 20 seconds
        assert shares["paris"] == 20 - shares["berlin"]


async def test_the_next_member_serves_addresses_that_one_refuses() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net, balance="order", own={"berlin": 'deny = ["127.0.0.2"]'})
        for source in ("127.0.0.2", "127.0.0.3") * 2:
            await panel.user(source)
        assert panel.shares() == {"berlin": 2, "paris": 2, "rome": 0}


async def test_users_wait_for_a_member_that_takes_their_address() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net, balance="order", own={"rome": 'deny = ["127.0.0.2"]'})
        for name in NAMES:  # the last one may return first
            await net.stop(panel.company.clients[name])
            await until(lambda name=name: not panel.company.server.tunnels[name].connected)  # type: ignore[misc]
        waiting = asyncio.create_task(panel.user("127.0.0.2"))
        await until(lambda: panel.company.server.state().waiting)
        await panel.company.connect("berlin")
        await waiting
        assert panel.shares() == {"berlin": 1, "paris": 0, "rome": 0}


async def test_a_user_whom_no_member_takes_is_counted_once() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net, balance="order", own=dict.fromkeys(NAMES, "max_connections = 1"))
        users = [await panel.user() for _ in range(3)]
        with pytest.raises((ConnectionResetError, EOFError)):
            await panel.user()
        users[1].close()
        await until(lambda: panel.shares()["paris"] == 0)
        await panel.user()
        assert [(one.client, one.total, one.refused) for one in panel.members()] == [
            ("berlin", 1, 1),
            ("paris", 2, 0),
            ("rome", 1, 0),
        ]


async def test_a_full_member_gets_users_when_one_of_its_own_has_left_or_when_it_may_have_more() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net, balance="order", own={"berlin": "max_connections = 1"})
        own = await net.dial(panel.company.ports["berlin"])
        await own.send(b"?")
        await own.receive(1)
        await panel.user()
        assert panel.shares() == {"berlin": 0, "paris": 1, "rome": 0}
        own.close()
        await until(lambda: not panel.company.server.tunnels["berlin"].places.users)
        await panel.user()
        await panel.user()
        assert panel.shares() == {"berlin": 1, "paris": 2, "rome": 0}
        panel.own = {"berlin": "max_connections = 2"}
        await panel.reload()
        await panel.user()
        assert panel.shares() == {"berlin": 2, "paris": 2, "rome": 0}


async def test_a_source_stays_with_its_member() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net, balance="source")
        for _ in range(3):
            await panel.user("127.0.0.2")
        assert sorted(panel.shares().values()) == [0, 0, 3]


@pytest.mark.parametrize("returning", NAMES)
@pytest.mark.parametrize("transport", ["tcp", "wsmux"])
async def test_the_first_member_that_returns_serves_the_users_who_wait(transport: str, returning: str) -> None:
    async with Net(transport) as net:
        panel = await panel_of(net)
        for name in NAMES:
            await net.stop(panel.company.clients[name])
        await until(lambda: not any(tunnel.connected for tunnel in panel.company.server.tunnels.values()))
        users = [await net.dial(panel.port) for _ in range(3)]
        for user in users:
            await user.send(b"?")
        await until(lambda: sum(panel.shares().values()) == len(users))
        await panel.company.connect(returning)
        for user in users:
            assert await user.receive(1) == b"?"
        assert panel.shares() == dict.fromkeys(NAMES, 0) | {returning: len(users)}
        assert {user.client for user in panel.company.server.users()} == {returning}
        for user in users:
            user.close()
        await until(lambda: not any(panel.shares().values()))


async def test_a_user_who_goes_to_another_member_leaves_the_rate_of_the_first_one() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net, own={"berlin": "rate = 8000"})
        for name in ("paris", "rome", "berlin"):
            await net.stop(panel.company.clients[name])
            await until(lambda name=name: not panel.company.server.tunnels[name].connected)  # type: ignore[misc]
        user = await net.dial(panel.port)
        await until(lambda: panel.shares()["berlin"] == 1)
        await panel.company.connect("paris")
        sending = asyncio.create_task(user.send(b"x" * BULK))
        assert await user.receive(BULK) == b"x" * BULK
        await sending


async def test_users_who_go_to_another_member_are_new_ones_of_it() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net, own={"paris": "new_users_per_second = 1"})
        for name in ("paris", "berlin", "rome"):
            await net.stop(panel.company.clients[name])
            await until(lambda name=name: not panel.company.server.tunnels[name].connected)  # type: ignore[misc]
        users = [await net.dial(panel.port) for _ in range(20)]
        await until(lambda: panel.shares()["rome"] == len(users))
        for name in ("paris", "rome"):
            await panel.company.connect(name)
        for user in users:
            await user.send(b"?")
            assert await user.receive(1) == b"?"
        shares = panel.shares()
        assert 0 < shares["paris"] < len(users)
        assert shares["rome"] == len(users) - shares["paris"]


async def held_up(net: Net) -> tuple[Panel, Middlebox, list[Peer]]:
    """Return a panel, the line of its first member, which gets no connection for users any more, and its users."""
    panel = Panel(net)
    panel.balance = "order"
    await net.echo(port=panel.target)
    await panel.company.open(NAMES)
    await panel.reload()
    box = net.middlebox(panel.company.bind_port)
    await panel.company.connect("berlin", port=box.port)
    await panel.company.connect("paris")
    box.hold()
    users = [await net.dial(panel.port) for _ in range(3)]
    for user in users:
        await user.send(b"?")
    return panel, box, users


async def test_users_who_wait_for_a_lost_member_go_to_another_one() -> None:
    async with Net("tcp") as net:
        panel, box, users = await held_up(net)
        await until(lambda: panel.shares()["berlin"] == len(users))
        await box.paths[0].cut()
        await until(lambda: all(not user.silent() for user in users))
        assert panel.shares()["paris"]


async def test_a_member_that_opens_no_connections_loses_the_users_who_wait_for_them() -> None:
    """And gets no others until it opens one."""
    async with Net("tcp") as net:
        net.timings = {"user_patience": 0.1}
        panel, box, users = await held_up(net)
        for user in users:
            assert await user.receive(1) == b"?"
        assert panel.states()["berlin"] == "unhealthy"
        users.append(await panel.user())
        assert panel.shares()["paris"] >= 2
        box.release()
        await until(lambda: panel.states()["berlin"] == "ready")


async def test_a_reload_changes_members_and_balance_and_leaves_users_alone() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net)
        users = [await panel.user() for _ in range(3)]
        panel.names, panel.balance = ("rome", "berlin"), "order"
        await panel.reload()
        await panel.user()
        assert panel.shares() == {"rome": 2, "berlin": 1}
        panel.names = ("berlin",)
        panel.port, before = free_port(), panel.port
        await panel.reload()
        await panel.user()
        assert panel.shares() == {"berlin": 2}
        with pytest.raises(ConnectionRefusedError):
            await net.dial(before)
        assert all(user.silent() for user in users)


async def test_a_drained_client_gets_no_users_of_its_groups_nor_of_its_own() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net)
        server = panel.company.server
        user = await panel.user()
        (first,) = (name for name, users in panel.shares().items() if users)
        await server.drain(first)
        assert panel.states() == dict.fromkeys(NAMES, "ready") | {first: "draining"}
        for _ in range(4):
            await panel.user()
        assert panel.shares()[first] == 1
        with pytest.raises((ConnectionRefusedError, ConnectionResetError, EOFError)):
            await (await net.dial(panel.company.ports[first])).receive(1)
        assert user.silent()
        await server.resume(first)
        await panel.user()
        assert panel.shares()[first] == 2
        with pytest.raises(BackhaulError, match="no client nobody"):
            await server.drain("nobody")


async def test_a_drained_server_refuses_users_of_groups() -> None:
    async with Net("tcp") as net:
        panel = await panel_of(net)
        await panel.company.server.drain()
        with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
            await panel.user()
        await panel.company.server.resume()
        await panel.user()
