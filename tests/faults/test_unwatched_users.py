"""Users whose sockets the kernel can't watch: each is reset, one line names the remedy, and others go on."""

import contextlib
import socket

import pytest
from tests.support.datagrams import FLOWS, UdpNet, repeat
from tests.support.exhausted import ExhaustedPoller
from tests.support.inside import sockets
from tests.support.net import echo
from tests.support.tunnel import LEGACY, Net, turned_away

from backhaul.net.poller import Owner
from backhaul.net.udp import DatagramSocket
from backhaul.relay.framed import FramedRelay
from backhaul.relay.pair import Pair


@pytest.fixture(params=["server", "client"])
def pollers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[ExhaustedPoller]:
    """Return the poller of one end once that has begun; it can watch everything for now."""
    pollers = list[ExhaustedPoller]()

    def make() -> ExhaustedPoller:
        pollers.append(ExhaustedPoller(lambda _owner: False))
        return pollers[0]

    monkeypatch.setattr(f"backhaul.{request.param}.make_poller", make)
    return pollers


async def one_is_reset(net: Net, pollers: list[ExhaustedPoller], lines: str = "") -> None:
    def short(owner: Owner | None) -> bool:
        return isinstance(owner, FramedRelay | Pair) and not pollers[0].refused

    tunnel = await net.tunnel(await net.echo(), server=lines, client=lines)
    bystander = await tunnel.user()
    await echo(bystander, b"before")
    pollers[0].short = short
    await turned_away(tunnel)
    assert pollers[0].refused
    await echo(bystander, b"after")
    await echo(await tunnel.user(), b"another")


def assert_one_line(caplog: pytest.LogCaptureFixture) -> None:
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().startswith("connection closed: out of memory; an end takes ")
    assert not record.exc_info


async def test_on_each_transport(
    any_net: Net, pollers: list[ExhaustedPoller], caplog: pytest.LogCaptureFixture
) -> None:
    await one_is_reset(any_net, pollers)
    assert_one_line(caplog)


async def test_beside_v072(net: Net, pollers: list[ExhaustedPoller], caplog: pytest.LogCaptureFixture) -> None:
    await one_is_reset(net, pollers, LEGACY)
    assert_one_line(caplog)


@pytest.mark.parametrize("pollers", ["client"], indirect=True)
@pytest.mark.parametrize("transport", FLOWS)
async def test_a_user_of_datagrams_leaves_nothing(transport: str, pollers: list[ExhaustedPoller]) -> None:
    def short(owner: Owner | None) -> bool:
        return isinstance(owner, DatagramSocket) and owner.address in reaching(target.port)

    async with UdpNet(transport) as net:
        target = net.udp_echo()
        tunnel = await net.flows(target.port)
        user, client = net.udp(to=tunnel.ports[0]), tunnel.client
        pollers[0].short = short
        await repeat(lambda: user.send(b"lost"), lambda: pollers[0].refused)
        assert (client.state().relay.flows, list(client.users())) == (0, [])
        pollers[0].short = lambda _owner: False
        other = net.udp(to=tunnel.ports[0])
        assert await other.ask(b"after") == b"echo:after"
        (state,) = client.state().targets
        assert state.flows == client.state().relay.flows > 0


def reaching(port: int) -> set[object]:
    """Return the addresses of the UDP sockets that are connected to ``port``."""
    found = set[object]()
    for sock in sockets(socket.SOCK_DGRAM):
        with contextlib.suppress(OSError):  # not connected
            if sock.getpeername()[1] == port:
                found.add(sock.getsockname())
    return found
