"""Ports that cannot be opened stay listed, and are retried until they are open."""

import contextlib
import socket

import pytest
from tests.support.datagrams import UdpNet
from tests.support.names import Names
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net, change

from backhaul.config import PortMapping
from backhaul.monitor.events import EventLog
from backhaul.monitor.status import PortStatus
from backhaul.net.listeners import Listeners
from backhaul.overview import reader
from backhaul.server import Server
from backhaul.tunnel.port_reports import MOST_LINES
from backhaul.tunnel.timings import Timings

SOON = Timings(quiet=0, reopen_pauses=(0.01, 0.02))
NOT_YET = Timings(quiet=0, reopen_pauses=(3600,))
IN_USE = "address already in use"


def states(server: Server) -> list[PortStatus]:
    """Return the monitor's view of the ports."""
    return list(reader(server.state, EventLog())().ports)


def taken_for_datagrams(port: int) -> socket.socket:
    """Return a UDP socket that holds the port."""
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind((HOST, port))
    return sock


async def test_a_port_in_use_is_listed_and_opened_when_it_is_free(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    taken = net.listen()
    server = await net.server(free_port(), [f"{HOST}:{taken.port}=1"], timings=SOON)
    (port,) = states(server)
    assert (port.port, port.up, port.problem) == (taken.port, False, IN_USE)
    taken.close()
    await until(lambda: states(server)[0].up)
    await net.dial(taken.port)
    told = [record for record in caplog.records if str(taken.port) in record.message]
    assert [record.levelname for record in told] == ["ERROR", "INFO"]
    assert IN_USE in told[0].message


async def test_many_ports_have_one_line(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    taken = [net.listen() for _ in range(MOST_LINES + 1)]
    numbers = [listener.port for listener in taken]
    await net.server(free_port(), [f"{HOST}:{number}=1" for number in numbers], timings=SOON)
    for listener in taken:
        listener.close()
    await until(lambda: "now open" in caplog.text)
    first, last = (f"{HOST}:{number}" for number in (numbers[0], numbers[-1]))
    names = f"port {first} and {MOST_LINES} others up to {last}"
    assert f"{names}: {IN_USE}; retried until it works" in caplog.text
    assert caplog.text.count(IN_USE) == 1


async def test_a_silent_name_server_delays_no_user(net: Net) -> None:
    names, number, port = Names(**{"late.example": OSError("no such name")}), free_port(), free_port()
    ports = [f"late.example:{number}=1", f"{HOST}:{port}={await net.echo()}"]
    bind_port = free_port()
    server = await net.server(bind_port, ports, timings=SOON, listeners=Listeners(names=names))
    assert states(server)[0].problem == "no such name"
    names.silence("late.example")
    await net.client(bind_port)
    await until(lambda: names.asked["late.example"] > 1)
    await echo(await net.dial(port), b"hello")
    names.known["late.example"] = HOST
    names.let_go()
    await until(lambda: states(server)[0].up)
    await net.dial(number)


async def test_udp_is_opened_later_without_delaying_tcp(net: Net) -> None:
    number = free_port()
    with taken_for_datagrams(number):
        server = await net.server(free_port(), [f"{HOST}:{number}=1"], "accept_udp = true", timings=SOON)
        assert states(server)[0].problem == f"UDP: {IN_USE}"
        await net.dial(number)
    await until(lambda: states(server)[0].up)
    with contextlib.closing(socket.socket(type=socket.SOCK_DGRAM)) as late, pytest.raises(OSError, match="in use"):
        late.bind((HOST, number))


async def test_ports_of_transport_udp_are_opened_later_too() -> None:
    async with UdpNet("udp") as net:
        number = free_port()
        with taken_for_datagrams(number):
            server = await net.server(free_port(), [f"{HOST}:{number}=1"], timings=SOON)
            assert states(server)[0].problem == IN_USE
        await until(lambda: states(server)[0].up)


async def test_a_reload_retries_ports_that_are_down(net: Net) -> None:
    one, other = net.listen(), net.listen()
    server = await net.server(free_port(), [f"{HOST}:{one.port}=1", f"{HOST}:{other.port}=1"], timings=NOT_YET)
    one.close()
    await change(server, ports=(PortMapping(HOST, one.port, "2"), server.config.ports[1]))
    assert [(port.target, port.up) for port in states(server)] == [("2", True), ("1", False)]
    await change(server, ports=(PortMapping(HOST, other.port, "3"),))
    assert [(port.target, port.up) for port in states(server)] == [("3", False)]
    await change(server, ports=())
    assert states(server) == []
    other.close()
    with socket.create_server((HOST, other.port)):
        pass
