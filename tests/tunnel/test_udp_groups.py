"""UDP users of groups: each flow stays with its member while that is there."""

import pytest
from tests.support.clients import config_of, table
from tests.support.datagrams import FLOWS, UdpNet, UdpPeer
from tests.support.middlebox import Middlebox
from tests.support.net import HOST, free_port, until
from tests.support.tunnel import change
from tests.support.udp_clients import UdpCompany, insist

from backhaul.config import ServerConfig

NAMES = ("berlin", "paris", "rome")

TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcpmux"])


class UdpPanel(UdpCompany):
    """A company whose clients serve one port together; which client has served a user the server tells."""

    balance = "least"
    names: tuple[str, ...] = NAMES
    carries = True  # UDP users
    protocol = ""  # of the entry, as /udp

    def __init__(self, net: UdpNet) -> None:
        super().__init__(net)
        self.port, self.target = free_port(), net.udp_echo()

    def config(self, own: object = None) -> ServerConfig:
        """Return the configuration with the group."""
        del own
        clients = ", ".join(f'"{name}"' for name in self.names)
        group = (
            f'[server.groups.panel]\nports = ["{HOST}:{self.port}{self.protocol}={self.target.port}"]\n'
            f'clients = [{clients}]\nbalance = "{self.balance}"\n'
        )
        lines = (FLOWS[self.net.transport] if self.carries else "") + self.lines
        return config_of(self.net.transport, self.bind_port, "".join(table(name) for name in NAMES) + group, lines)

    def totals(self) -> dict[str, int]:
        """Return the users so far of each member."""
        (group,) = self.server.state().groups
        return {member.client: member.total for member in group.members}

    async def users(self, count: int) -> list[UdpPeer]:
        """Return users, each of whom has been answered."""
        users = [self.net.udp(self.port) for _ in range(count)]
        for user in users:
            assert await user.ask(b"?") == b"echo:?"
        return users

    def shares(self) -> dict[str, int]:
        """Return the users of each member."""
        (group,) = self.server.state().groups
        return {member.client: member.users for member in group.members}


async def panel_of(net: UdpNet, balance: str = "least") -> UdpPanel:
    panel = UdpPanel(net)
    panel.balance = balance
    await panel.start(NAMES)
    return panel


@TRANSPORTS
async def test_flows_are_shared_evenly_and_stay(transport: str) -> None:
    async with UdpNet(transport) as net:
        panel = await panel_of(net)
        users = await panel.users(6)
        for user in users * 3:
            assert await user.ask(b"?") == b"echo:?"
        assert panel.shares() == dict.fromkeys(NAMES, 2)
        assert {user.client for user in panel.server.users()} == set(NAMES)
        (group,) = panel.server.state().groups
        assert (group.ports[0].flows, group.ports[0].open) == (6, 0)


@TRANSPORTS
async def test_the_balance_chooses_the_member_of_a_flow(transport: str) -> None:
    async with UdpNet(transport) as net:
        panel = await panel_of(net, "order")
        await panel.users(3)
        assert panel.shares() == {"berlin": 3, "paris": 0, "rome": 0}


@TRANSPORTS
async def test_a_flow_moves_when_its_member_is_gone(transport: str) -> None:
    async with UdpNet(transport) as net:
        panel = await panel_of(net, "order")
        (user,) = await panel.users(1)
        await net.stop(panel.clients["berlin"])
        await until(lambda: not panel.server.tunnels["berlin"].connected)
        await insist(user)
        assert panel.shares() == {"berlin": 0, "paris": 1, "rome": 0}
        await panel.connect("berlin")
        await insist(user)
        assert panel.shares() == {"berlin": 0, "paris": 1, "rome": 0}  # it stays where it is


@TRANSPORTS
async def test_a_flow_that_waits_moves_to_the_first_member_that_returns(transport: str) -> None:
    async with UdpNet(transport) as net:
        net.timings = {"flow_patience": 600.0}
        panel = await panel_of(net, "order")
        for name in NAMES:
            await net.stop(panel.clients[name])
        await until(lambda: not any(tunnel.connected for tunnel in panel.server.tunnels.values()))
        user = net.udp(panel.port)
        user.send(b"?")
        await until(lambda: sum(tunnel.waiting for tunnel in panel.server.tunnels.values()) == 1)
        await panel.connect("berlin" if panel.shares()["berlin"] == 0 else "paris")
        await insist(user)


@TRANSPORTS
async def test_a_flow_moves_when_its_member_is_drained_and_another_one_is_there(transport: str) -> None:
    async with UdpNet(transport) as net:
        panel = await panel_of(net, "order")
        (user,) = await panel.users(1)
        for name in NAMES:
            await panel.server.drain(name)
        assert await user.ask(b"?") == b"echo:?"  # there is no better member
        assert panel.shares()["berlin"] == 1
        await panel.server.resume("rome")
        await insist(user)
        assert panel.shares() == {"berlin": 0, "paris": 0, "rome": 1}


@TRANSPORTS
async def test_a_flow_stays_with_a_member_that_returns_before_its_next_datagram(transport: str) -> None:
    async with UdpNet(transport) as net:
        panel = await panel_of(net, "order")
        (user,) = await panel.users(1)
        await panel.server.drain("berlin")
        await panel.server.resume("berlin")
        for _ in range(2):
            assert await user.ask(b"?") == b"echo:?"
        assert panel.shares()["berlin"] == 1
        (group,) = panel.server.state().groups
        assert group.members[0].total == 1


@TRANSPORTS
async def test_a_drained_group_takes_no_new_flows(transport: str) -> None:
    async with UdpNet(transport) as net:
        panel = await panel_of(net)
        await panel.server.drain()
        user = net.udp(panel.port)
        user.send(b"?")
        await until(lambda: panel.server.state().groups[0].ports[0].datagrams_dropped == 1)
        await panel.server.resume()
        assert await user.ask(b"?") == b"echo:?"


@TRANSPORTS
async def test_a_reload_moves_the_flows_of_a_member_that_leaves_the_group(transport: str) -> None:
    async with UdpNet(transport) as net:
        panel = await panel_of(net, "order")
        (user,) = await panel.users(1)
        panel.names = ("rome",)
        await panel.reload(panel.config())
        await insist(user)
        assert panel.shares() == {"rome": 1}
        assert not panel.server.tunnels["berlin"].places.users


async def reloaded_without_berlin(net: UdpNet) -> tuple[UdpPanel, list[UdpPeer], Middlebox]:
    """Return a group with a user on each of two clients, one of which can't return after a reload, and its way."""
    panel = UdpPanel(net)
    panel.names = NAMES[:2]
    await panel.start(["paris"])
    way = net.middlebox(panel.bind_port)
    await panel.connect("berlin", remote_port=way.port)
    users = await panel.users(2)
    panel.lines, way.most = "\nkeepalive_period = 7", 0
    await panel.reload(panel.config())
    return panel, users, way


@pytest.mark.parametrize("transport", ["tcp", "tcpmux"])
async def test_a_reload_of_the_server_moves_no_flow_whose_session_continues(transport: str) -> None:
    async with UdpNet(transport) as net:
        panel, users, way = await reloaded_without_berlin(net)
        await until(lambda: panel.server.tunnels["paris"].opened == 2 and way.turned_away)
        assert not panel.server.tunnels["berlin"].connected
        for user in users:
            await insist(user)
        assert panel.totals() == {"berlin": 1, "paris": 1}
        way.most = len(way.paths) + 10
        await until(lambda: panel.server.tunnels["berlin"].connected)
        for user in users:
            await insist(user)
        assert panel.totals() == {"berlin": 1, "paris": 1}


async def test_a_flow_moves_when_its_member_does_not_return_after_a_reload() -> None:
    async with UdpNet("tcpmux") as net:
        net.timings = {"restart": 0.05}
        panel, users, _ = await reloaded_without_berlin(net)
        await until(lambda: panel.server.tunnels["paris"].connected and panel.server.tunnels["berlin"].offline)
        for user in users:
            await insist(user)
        assert panel.shares() == {"berlin": 0, "paris": 2}


async def test_a_reload_opens_the_ports_for_datagrams_and_closes_them() -> None:
    async with UdpNet("tcpmux") as net:
        panel = UdpPanel(net)
        panel.carries = False
        await panel.start(NAMES)
        panel.carries = True
        await panel.reload(panel.config())
        await panel.users(1)
        panel.carries = False
        await panel.reload(panel.config())
        assert not panel.shares()["berlin"]
        net.udp(port=panel.port)  # which is free


async def test_flows_go_on_while_udp_moves_from_the_key_to_the_entry() -> None:
    async with UdpNet("tcpmux") as net:
        panel = await panel_of(net)
        users = await panel.users(3)
        panel.carries, panel.protocol = False, "/udp"
        await panel.reload(panel.config())
        assert panel.shares() == dict.fromkeys(NAMES, 1)
        for user in users:
            await insist(user)


@pytest.mark.parametrize(("before", "after"), [("udp", "tcpmux"), ("tcpmux", "udp")])
async def test_a_reload_to_another_transport_moves_no_flow(before: str, after: str) -> None:
    async with UdpNet(before) as net:
        panel = await panel_of(net)
        users, net.transport = await panel.users(3), after
        await panel.reload(panel.config())
        for name, client in panel.clients.items():
            await change(client, transport=after)
            await panel.connected(name)
        for user in users:
            await insist(user)
        assert panel.totals() == dict.fromkeys(NAMES, 1)
        await panel.users(3)
        assert panel.totals() == dict.fromkeys(NAMES, 2)
