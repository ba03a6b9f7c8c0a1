"""Several clients of one server on transport udp, each with its own token, tunnels and flows."""

import msgspec
import pytest
from tests.support.clients import token_of
from tests.support.datagrams import UdpNet
from tests.support.net import until
from tests.support.tunnel import LEGACY, change
from tests.support.udp_clients import UdpCompany, insist
from tests.support.udp_line import announced

from backhaul.wire.announcements import IDLE, Announcement

ENCRYPTED = "encryption = true"


@pytest.mark.parametrize("lines", ["", ENCRYPTED], ids=["protected", "encrypted"])
async def test_twenty_clients_get_their_own_users_only(lines: str) -> None:
    async with UdpNet("udp") as net:
        company = UdpCompany(net, lines)
        names = [f"client-{number}" for number in range(20)]
        await company.start(names)
        for name in names * 2:
            assert await company.user(name).ask(b"?") == f"{name}:?".encode()
        users = list(company.server.users())
        assert {user.bind_port: user.client for user in users} == {company.ports[name]: name for name in names}
        assert sum(client.users for client in company.server.state().clients) == len(users) == 40


async def test_datagrams_of_a_client_wait_in_a_room_of_its_own() -> None:
    async with UdpNet("udp") as net:
        company = UdpCompany(net)
        await company.start(["berlin", "paris"])
        for name in ("berlin", "paris", "berlin"):
            assert await company.user(name).ask(b"?") == f"{name}:?".encode()
        rooms = [flow.room for flow in company.server.relay.flows]
        assert rooms[0] is rooms[2] is not rooms[1]


async def test_clients_of_v072_at_one_address_are_told_apart_by_their_tokens() -> None:
    async with UdpNet("udp") as net:
        company = UdpCompany(net)
        await company.start(["berlin", "old", "older"], {"old": LEGACY, "older": LEGACY})
        for name in ("old", "berlin", "older") * 3:
            assert await company.user(name).ask(b"?") == f"{name}:?".encode()
        assert [company.server.tunnels[name].opened for name in company.ports] == [1, 1, 1]


async def test_a_token_opens_no_tunnel_of_a_client_that_does_not_show_it() -> None:
    """The token of a protected client counts for nothing in clear, and that of a v0.7.2 client only for itself."""
    async with UdpNet("udp") as net:
        company = UdpCompany(net)
        await company.start(["berlin", "old"], {"old": LEGACY})
        await until(lambda: company.idle("berlin") == company.idle("old") == 1)
        stranger = net.udp(company.bind_port)
        for token in (token_of("berlin"), token_of("paris"), token_of("old")):  # the last one is right
            stranger.send(token.encode())
        await until(lambda: company.idle("old") == 2)
        assert company.idle("berlin") == 1


@pytest.mark.parametrize("lines", ["", ENCRYPTED], ids=["protected", "encrypted"])
async def test_the_address_of_a_client_is_not_given_to_another_one_that_claims_it(lines: str) -> None:
    """A client can forge the source of its own announcement, but not take a flow over, nor end it."""
    async with UdpNet("udp") as net:
        company = UdpCompany(net, lines)
        await company.start(["berlin", "paris"])
        await until(lambda: company.idle("berlin") == company.idle("paris") == 1)
        claimed = net.udp(company.bind_port)
        claimed.send(announced(company.server, Announcement(b"a tunnel", IDLE), client="berlin"))
        await until(lambda: company.idle("berlin") == 2)
        user = company.user("berlin")
        user.send(b"?")  # through the tunnel with the latest sign of life
        await claimed.receive()
        claimed.send(announced(company.server, Announcement(b"b tunnel", IDLE), client="paris"))
        beside = net.udp(company.bind_port)
        beside.send(announced(company.server, Announcement(b"c tunnel", IDLE), client="paris", newer=1))
        await until(lambda: company.idle("paris") == 2)  # that of the address of its own
        assert len(company.server.relay.flows) == 1


async def test_the_address_of_a_silent_tunnel_passes_to_another_client() -> None:
    """A NAT in front of both clients has given it away."""
    async with UdpNet("udp") as net:
        net.patience = {"sign_of_life": -1.0}  # seconds: every tunnel counts as silent at once
        company = UdpCompany(net)
        await company.start(["berlin", "paris"])
        await until(lambda: company.idle("berlin") == company.idle("paris") == 1)
        shared = net.udp(company.bind_port)
        for order, name in enumerate(("berlin", "paris")):
            tunnel = Announcement(f"{name:8}".encode(), IDLE)
            shared.send(announced(company.server, tunnel, client=name, newer=order))
            await until(lambda name=name: company.idle(name) == 2)  # type: ignore[misc]
        assert company.idle("berlin") == 1


async def test_the_address_of_a_silent_flow_passes_to_another_client_of_v072() -> None:
    """It announces a tunnel once only, and would take the other client's datagrams for targets."""
    async with UdpNet("udp") as net:
        net.patience = {"sign_of_life": -1.0}
        company = UdpCompany(net)
        await company.start(["old", "older"], {"old": LEGACY, "older": LEGACY})
        await until(lambda: company.idle("old") == company.idle("older") == 1)
        shared = net.udp(company.bind_port)
        shared.send(token_of("old").encode())
        await until(lambda: company.idle("old") == 2)
        company.user("old").send(b"?")
        await shared.receive()
        shared.send(token_of("older").encode())
        await until(lambda: company.idle("older") == 2)
        assert not company.server.relay.flows


async def test_a_reload_adds_removes_and_changes_clients_and_leaves_flows_of_others_alone() -> None:
    async with UdpNet("udp") as net:
        company = UdpCompany(net)
        await company.start(["berlin", "paris"])
        user = company.user("paris")
        assert await user.ask(b"1") == b"paris:1"

        company.add("rome")
        await company.reload(company.config({"berlin": f'tokens = ["{token_of("new")}"]'}))
        await company.connect("rome")
        assert await company.user("rome").ask(b"?") == b"rome:?"
        await until(lambda: not company.server.tunnels["berlin"].connected)

        del company.ports["rome"]
        await company.reload(company.config())
        assert "rome" not in company.server.tunnels
        await until(lambda: company.clients["berlin"].tunnel.connected)
        await insist(company.user("berlin"), b"berlin:")
        assert await user.ask(b"2") == b"paris:2"
        assert company.server.tunnels["paris"].opened == 1


async def test_a_lost_client_leaves_the_flows_of_others_alone() -> None:
    async with UdpNet("udp") as net:
        company = UdpCompany(net)
        await company.start(["berlin", "paris"])
        user = company.user("paris")
        assert await user.ask(b"1") == b"paris:1"
        await net.stop(company.clients["berlin"])
        await until(lambda: not company.server.tunnels["berlin"].connected)
        assert await user.ask(b"2") == b"paris:2"
        await until(lambda: company.idle("paris") == 1)


async def test_a_late_announcement_makes_no_tunnel_of_the_v072_client_that_has_followed() -> None:
    """Its tunnels get their targets in clear."""
    async with UdpNet("udp") as net:
        company = UdpCompany(net)
        await company.start(["berlin"])
        late = announced(company.server, Announcement(b"a tunnel", IDLE), client="berlin")
        await net.stop(company.clients["berlin"])
        await until(lambda: not company.server.tunnels["berlin"].connected)
        await company.connect("berlin", LEGACY)
        await until(lambda: company.idle("berlin") == 1)
        net.udp(company.bind_port).send(late)
        newest = net.udp(company.bind_port)
        newest.send(token_of("berlin").encode())
        await until(lambda: company.idle("berlin") > 1)
        company.user("berlin").send(b"?")
        await newest.receive()
        assert company.idle("berlin") == 1


@pytest.mark.parametrize("another", ["nodelay", "bind_addr"])
async def test_a_reload_ends_flows_only_if_the_address_is_another_one(another: str) -> None:
    """The port can't be opened at another address while the socket with the flows is there."""
    async with UdpNet("udp") as net:
        company = UdpCompany(net)
        await company.start(["berlin"])
        user, server = company.user("berlin"), company.server
        assert await user.ask(b"1") == b"berlin:1"
        (before,) = server.users()
        everywhere = msgspec.structs.replace(server.config.bind_addr, host="0.0.0.0")
        await change(server, **({"nodelay": True} if another == "nodelay" else {"bind_addr": everywhere}))
        await until(lambda: company.clients["berlin"].tunnel.opened == 2 and server.tunnels["berlin"].connected)
        await insist(user, b"berlin:")
        (after,) = server.users()
        assert (after.number == before.number) is (another == "nodelay")
