"""A server that asks the client for forbidden targets, or for more than it can handle."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.support.behind import Behind
from tests.support.datagrams import FLOWS, UdpNet, repeat
from tests.support.names import Names
from tests.support.net import HOST, Peer, until
from tests.support.tunnel import LEGACY, Net
from tests.support.v072 import header

from backhaul.config.diff import diff
from backhaul.monitor.events import EventLog
from backhaul.overview import reader
from backhaul.wire.signals import Signal

CHANNEL = bytes([Signal.CHANNEL])
DESCRIPTORS, A_QUARTER = 80, 20


@pytest.fixture(params=FLOWS)
async def flow_net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    """Run the test on every transport with datagrams; no flow may remain at its end."""
    async with UdpNet(request.param) as net:
        yield net


async def client_of(net: Net, lines: str = "", names: Names | None = None, pool: int = 2) -> Behind:
    listener = net.listen()
    client = await net.client(
        listener.port, f"{LEGACY}\n{lines}", names=names or Names(), descriptors=DESCRIPTORS, connection_pool=pool
    )
    return Behind(net, client, listener)


async def assigned(carrier: Peer, target: str) -> Peer:
    """Send a user of ``target`` on a tunnel connection."""
    await carrier.send(header(target))
    return carrier


async def test_requests_for_connections_cannot_exhaust_the_descriptors(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    behind = await client_of(net)
    control = await behind.control()
    await control.send(CHANNEL * 600)
    carriers = await behind.carriers(A_QUARTER)
    await until(lambda: "asks for more than 20 tunnel connections: refused" in caplog.text)
    transport = behind.client.tunnel.transport
    assert transport.idle + transport.opening == A_QUARTER
    assert caplog.text.count("asks for more than") == 1
    carriers[0].close()
    await control.send(CHANNEL)
    await behind.carriers(1)


async def test_a_configured_pool_above_the_limit_is_filled(net: Net) -> None:
    behind = await client_of(net, pool=A_QUARTER + 5)
    await behind.control()
    await behind.carriers(A_QUARTER + 5)


async def test_targets_cannot_exhaust_the_descriptors(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    names = Names()
    behind = await client_of(net, names=names, pool=A_QUARTER + 1)
    await behind.control()
    *carriers, last = await behind.carriers(A_QUARTER + 1)
    for carrier in carriers:
        await assigned(carrier, "silent.example:80")
    await until(lambda: behind.client.tunnel.dialling == A_QUARTER)
    assert not await (await assigned(last, "one-more.example:80")).closed()  # but reset
    assert "target one-more.example:80: user refused, 20 targets are being dialled already" in caplog.text
    names.let_go()


class TestAllowedTargets:
    async def test_others_are_refused(self, net: Net, caplog: pytest.LogCaptureFixture) -> None:
        target, other = net.listen(), net.listen()
        behind = await client_of(net, f'allow_targets = [":{target.port}"]')
        await behind.control()
        first, second = await behind.carriers(2)
        await assigned(first, str(target.port))
        await target.accept()
        assert not await (await assigned(second, str(other.port))).closed()
        assert f"target {other.port}: user refused, not in allow_targets" in caplog.text
        assert behind.client.tunnel.targets.others.refused == 1

    async def test_a_name_that_leads_elsewhere(self, net: Net, caplog: pytest.LogCaptureFixture) -> None:
        """The owner of a name can point it into the client's own network."""
        inner, outer = net.listen(), net.listen(host="127.0.0.2")
        names = Names(good_example="127.0.0.2", bad_example=HOST)
        behind = await client_of(net, 'allow_targets = ["127.0.0.2"]', names)
        await behind.control()
        first, second = await behind.carriers(2)
        await assigned(first, f"good.example:{outer.port}")
        await outer.accept()
        assert not await (await assigned(second, f"bad.example:{inner.port}")).closed()
        assert f"target bad.example:{inner.port}: user refused, not in allow_targets" in caplog.text

    async def test_a_name_that_matches_no_entry_is_not_looked_up(self, net: Net) -> None:
        names = Names()
        behind = await client_of(net, 'allow_targets = ["db.example", "10.0.0.0/8:80"]', names)
        await behind.control()
        (carrier, _) = await behind.carriers(2)
        assert not await (await assigned(carrier, "secret.example:81")).closed()
        assert not names.asked

    @pytest.mark.parametrize(
        ("host", "complaint"),
        [
            ("127.0.0.1\0.example.com", "target '127.0.0.1\\x00.example.com:"),
            ("10.0.0.1%x.evil.example", "target 10.0.0.1%x.evil.example:"),
        ],
    )
    async def test_the_checked_target_is_the_dialled_one(
        self, net: Net, caplog: pytest.LogCaptureFixture, host: str, complaint: str
    ) -> None:
        """In C a NUL ends a name, and a text that looks like an address may be a name for any address."""
        target = net.listen()
        names = Names()
        names.known[host] = HOST
        behind = await client_of(net, 'allow_targets = ["*.example.com", "10.0.0.0/8"]', names)
        await behind.control()
        (carrier, _) = await behind.carriers(2)
        await (await assigned(carrier, f"{host}:{target.port}")).closed()
        assert complaint in caplog.text
        with pytest.raises(BlockingIOError):
            target.sock.accept()

    async def test_a_reload_applies_to_new_users(self, net: Net) -> None:
        target = net.listen()
        behind = await client_of(net, f'allow_targets = [":{target.port}"]')
        await behind.control()
        first, second = await behind.carriers(2)
        await assigned(first, str(target.port))
        service = await target.accept()
        client = behind.client
        new = msgspec.structs.replace(client.config, allow_targets=("db.example",))
        assert not diff(client.config, new).rebuild
        status = reader(client.state, EventLog())
        assert status().allow_targets == (f":{target.port}",)
        await client.reconfigure(new)
        assert status().allow_targets == ("db.example",)
        assert not await (await assigned(second, str(target.port))).closed()
        await first.send(b"still here")
        assert await service.receive(10) == b"still here"

    async def test_datagrams(self, flow_net: UdpNet) -> None:
        good, bad = flow_net.udp_echo(), flow_net.udp()
        tunnel = await flow_net.flows(good.port, bad.port, client=f'allow_targets = [":{good.port}"]')
        book = tunnel.client.tunnel.targets
        refused = flow_net.udp(tunnel.ports[1])
        await repeat(lambda: refused.send(b"let me in"), lambda: book.others.refused)
        assert await flow_net.udp(tunnel.ports[0]).ask(b"hello") == b"echo:hello"
        assert not bad.count
        assert [(target, counters.flows) for target, counters in book] == [(str(good.port), 1)]
        tunnel.client.relay.flows.close()
        assert not book[str(good.port)].in_use
