"""Users without a client are refused or wait, depending on ``offline`` and on the client's goodbye."""

import errno
import os
import socket

import pytest
from tests.support.datagrams import UdpNet
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net, change
from tests.support.v072 import dial_control

from backhaul.config import Address, PortMapping
from backhaul.errors import BackhaulError
from backhaul.monitor.events import EventLog
from backhaul.monitor.status import NO_CLIENT
from backhaul.net.listeners import Listeners
from backhaul.net.sockets import SocketOptions
from backhaul.overview import reader
from backhaul.server import Server
from backhaul.tunnel.timings import Timings

AT_ONCE = Timings(quiet=0, absence=0.02, restart=3600)  # refuse when the client is lost, wait for one that restarts


async def refused(net: Net, port: int, host: str = HOST) -> bool:
    """Return whether a user is refused at once."""
    try:
        (await net.dial(port, host)).close()
    except ConnectionRefusedError:
        return True
    return False


async def offline(server: Server) -> None:
    """Wait until the server has given up on its client."""
    await until(lambda: server.tunnel.offline)


def held(port: int, host: str = HOST) -> bool:
    """Return whether no other program can open the port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind((host, port))
        except OSError:
            return True
    return False


@pytest.mark.parametrize("host", [HOST, "::1", "::"])
async def test_without_a_client_users_are_refused_and_the_port_is_kept(net: Net, host: str) -> None:
    """Both families stay; low ports could not be opened again without privileges."""
    dialled, port, bind_port = ("::1" if host == "::" else host), free_port(), free_port()
    server = await net.server(bind_port, [f"[{host}]:{port}={await net.echo()}"], timings=AT_ONCE)
    await offline(server)
    assert await refused(net, port, dialled)
    assert host != "::" or await refused(net, port)
    (status,) = reader(server.state, EventLog())().ports
    assert (status.up, status.problem) == (False, NO_CLIENT)
    assert held(port, host)
    client = await net.client(bind_port)
    await until(lambda: server.tunnel.connected)
    user = await net.dial(port, dialled)
    await echo(user, b"hello")
    client.tunnel.transport.disconnect()  # without a goodbye
    await offline(server)
    assert await refused(net, port, dialled)
    await echo(user, b"still here")
    assert reader(server.state, EventLog())().ports[0].open == 1


async def test_a_reload_while_users_are_refused_keeps_the_port(net: Net) -> None:
    port, bind_port = free_port(), free_port()
    server = await net.server(bind_port, [f"{HOST}:{port}={await net.echo()}"], timings=AT_ONCE)
    await offline(server)
    await change(server, accept_udp=True)  # which opens the port for UDP, and refuses again
    assert held(port)
    assert await refused(net, port)


async def test_a_client_that_does_not_return_after_a_failed_reload_is_missed(net: Net) -> None:
    port, bind_port = free_port(), free_port()
    soon = Timings(quiet=0, absence=3600, restart=0.02)
    server = await net.server(bind_port, [f"{HOST}:{port}=1"], timings=soon)
    await dial_control(net, bind_port)
    await until(lambda: server.tunnel.connected)
    with pytest.raises(BackhaulError, match="cannot assign"):
        await change(server, bind_addr=Address("192.0.2.1", bind_port))  # RFC 5737: no machine has it
    assert not server.session().peer
    await offline(server)


class Stubborn(socket.socket):
    """A listening socket of a system on which shutdown(2) has no effect on it."""

    def shutdown(self, how: int) -> None:
        del how
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))


class StubbornListeners(Listeners):
    """Open such sockets."""

    def streams(self, host: str, port: int, options: SocketOptions) -> socket.socket:
        sock = super().streams(host, port, options)
        return Stubborn(sock.family, sock.type, sock.proto, sock.detach())


async def test_without_refusals_on_open_sockets_the_port_is_closed(net: Net) -> None:
    port, bind_port = free_port(), free_port()
    ports = [f"{HOST}:{port}={await net.echo()}"]
    server = await net.server(bind_port, ports, timings=AT_ONCE, listeners=StubbornListeners())
    await offline(server)
    assert await refused(net, port)
    await net.client(bind_port)
    await until(lambda: server.tunnel.connected)
    await echo(await net.dial(port), b"hello")


@pytest.mark.parametrize("transport", ["tcp", "wsmux"])  # one for each gate
async def test_users_wait_for_a_client_that_said_goodbye(transport: str) -> None:
    async with Net(transport) as net:
        port, bind_port = free_port(), free_port()
        patience = Timings(quiet=0, user_patience=0.01, absence=0.02, restart=3600)
        server = await net.server(bind_port, [f"{HOST}:{port}={await net.echo()}"], timings=patience)
        client = await net.client(bind_port)
        await until(lambda: client.tunnel.connected and server.tunnel.connected)
        await net.stop(client)
        await until(lambda: not server.tunnel.connected)
        user = await net.dial(port)
        await user.send(b"hello")
        await until(lambda: server.tunnel.waiting)
        await net.client(bind_port)
        assert await user.receive(5) == b"hello"


async def test_a_client_that_does_not_return_is_given_up(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    patience = Timings(quiet=0, user_patience=0.01, absence=3600, restart=0.1)
    port, bind_port = free_port(), free_port()
    server = await net.server(bind_port, [f"{HOST}:{port}=1"], timings=patience)
    client = await net.client(bind_port)
    await until(lambda: client.tunnel.connected and server.tunnel.connected)
    await net.stop(client)
    await until(lambda: not server.tunnel.connected)
    user = await net.dial(port)
    assert not await user.closed()
    assert "no client is connected" in caplog.text
    await offline(server)
    assert await refused(net, port)


async def test_a_reload_of_offline_takes_effect_at_once(net: Net) -> None:
    port = free_port()
    server = await net.server(free_port(), [f"{HOST}:{port}=1"], timings=AT_ONCE)
    await offline(server)
    await change(server, offline="wait")
    waiting = await net.dial(port)
    await until(lambda: server.tunnel.waiting == 1)
    assert waiting.silent()
    await change(server, offline="refuse")
    assert await refused(net, port)


async def test_a_port_added_without_a_client_refuses_and_opens_with_the_others(net: Net) -> None:
    port, taken, bind_port = free_port(), net.listen(), free_port()
    server = await net.server(bind_port, timings=Timings(quiet=0, absence=0.02, reopen_pauses=(0.01,)))
    await offline(server)
    target = str(await net.echo())
    await change(server, ports=(PortMapping(HOST, port, target), PortMapping(HOST, taken.port, target)))
    assert await refused(net, port)
    taken.close()
    await until(lambda: len(server.tunnel.ports.open) == 2)
    assert await refused(net, taken.port)
    await net.client(bind_port)
    await until(lambda: server.tunnel.connected)
    for number in (port, taken.port):
        await echo(await net.dial(number), b"hello")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_datagrams_of_new_users_are_dropped_and_none_waits_for_a_client(transport: str) -> None:
    async with UdpNet(transport) as net:
        port, bind_port = free_port(), free_port()
        lines = "accept_udp = true" if transport == "tcp" else ""
        server = await net.server(bind_port, [f"{HOST}:{port}={net.udp_echo().port}"], lines, timings=AT_ONCE)
        await offline(server)
        user = net.udp(port)
        user.send(b"lost")
        (listening,) = server.tunnel.ports.open.values()
        await until(lambda: listening.udp.dropped == 1)
        assert len(server.relay.flows) == 0
        await net.client(bind_port)
        await until(lambda: server.tunnel.connected)
        assert await user.ask(b"now") == b"echo:now"
