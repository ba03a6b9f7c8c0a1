"""UDP users of a client that carries none: v0.7.2 on transports other than tcp and udp."""

from typing import Any

import pytest
from tests.support.datagrams import FLOWS, UdpNet, repeat
from tests.support.net import HOST, Peer, free_port, until
from tests.support.v072 import HANDSHAKE
from tests.support.web import BINARY, receive_frame, upgraded

from backhaul.wire.signals import Signal

REFUSED = "UDP users refused"


class OldClient:
    """The control channel of a v0.7.2 client, and tunnel connections."""

    def __init__(self, net: UdpNet, port: int) -> None:
        self._net = net
        self._port = port
        self.control: Peer | None = None

    async def connect(self, count: int) -> None:
        if self._net.transport == "tcpmux":
            self.control = await self._net.dial(self._port)
            await self.control.send(HANDSHAKE)
            assert await self.control.receive(len(HANDSHAKE)) == HANDSHAKE
            for _ in range(count):
                await self._net.dial(self._port)
        else:
            self.control = await upgraded(self._net, self._port, "/channel")
            for number in range(count):
                await upgraded(self._net, self._port, f"/tunnel/{number}")


@pytest.mark.parametrize("transport", ["tcpmux", "ws"])
async def test_refused_users_cost_no_carrier_and_one_log_line(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    async with UdpNet(transport) as net:
        net.timings = {"flow_patience": 0.3}
        bind_port, port, echo = free_port(), free_port(), net.udp_echo()
        mapping = f"{HOST}:{port}={echo.port}"
        server = await net.server(bind_port, [mapping], FLOWS[transport], heartbeat=3600)
        listening = server.tunnel.ports.open[HOST, port, ""]
        old = OldClient(net, bind_port)
        await old.connect(2)
        carriers: Any = server.tunnel.transport
        await until(lambda: carriers.idle == 2)

        user = net.udp(port)
        user.send(b"hello")
        await until(lambda: listening.udp.flows)
        net.udp(port).send(b"hello")
        await repeat(lambda: user.send(b"hello"), lambda: REFUSED in caplog.text)
        assert not server.tunnel.waiting
        before = listening.udp.dropped
        others = [net.udp(port) for _ in range(50)]
        for other in others:
            other.send(b"one")
            other.send(b"two")
        await until(lambda: listening.udp.dropped >= before + 100)
        assert caplog.text.count(REFUSED) == 1
        assert f"target {echo.port}" in caplog.text
        assert carriers.idle == 2
        assert listening.udp.total == 52

        assert old.control
        if transport == "ws":
            carriers.beat()
            assert await receive_frame(old.control) == (BINARY, bytes([Signal.HEARTBEAT]))  # nothing was requested
        old.control.close()
        await until(lambda: not server.tunnel.connected)
        await net.client(bind_port)
        await until(lambda: server.tunnel.connected)
        assert not listening.udp.flows
        user.heard.clear()
        await repeat(lambda: user.send(b"hello"), lambda: user.heard)
        assert await user.receive() == b"echo:hello"
        await repeat(lambda: others[0].send(b"hello"), lambda: others[0].heard)
