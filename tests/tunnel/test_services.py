"""A client whose servers are listed by SRV records."""

import errno
import socket

import pytest
from tests.support.names import Names
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net, client_config

from backhaul.client import Client
from backhaul.net.services import Record, Records
from backhaul.server import Server
from backhaul.transports.auth import ForgetfulMemory

pytest.importorskip("dns", reason="SRV records require dnspython")

SERVICE = "_backhaul._tcp.example.test"
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "no such name")


class Listed:
    """A name server that lists what the test wants."""

    def __init__(self, *records: Record) -> None:
        self.answer: Records | OSError = records
        self.asked = 0

    def __call__(self, name: str) -> Records:
        assert name == SERVICE
        self.asked += 1
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


class Service:
    """Servers, each with a port of its own."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self.ports = [free_port() for _ in range(3)]
        self.listed = Listed()
        self.known = ForgetfulMemory()

    def record(self, place: int, priority: int = 10) -> Record:
        return Record(priority, "a.example.test", self.ports[place])

    async def server(self, place: int, *mappings: str) -> Server:
        return await self._net.server(self.ports[place], mappings)

    async def client(self, *records: Record) -> Client:
        self.listed.answer = records
        config = client_config(self._net.transport, f"all:{SERVICE}")
        names = Names(a_example_test=HOST)
        return await self._net.connect(config, names=names, services=self.listed, known=self.known)

    async def asked_again(self) -> None:
        before = self.listed.asked
        await until(lambda: self.listed.asked >= before + 2)

    def in_use(self, client: Client) -> set[int]:
        """Return the places of the servers that are in use."""
        ports = {int(one.name.rpartition(":")[2]) for one in client.state().servers if one.in_use}
        return {self.ports.index(port) for port in ports}


@pytest.fixture
def service(net: Net) -> Service:
    net.timings = {"stable": 0.1, "names": 0.02}
    return Service(net)


async def test_all_servers_of_a_priority_are_in_use_each_at_its_port(net: Net, service: Service) -> None:
    port = free_port()
    first, second = await service.server(0), await service.server(1, f"{HOST}:{port}={await net.echo()}")
    client = await service.client(service.record(0), service.record(1))
    await until(lambda: first.tunnel.connected and second.tunnel.connected)
    await echo(await net.dial(port), b"hello")
    assert {one.name for one in client.state().servers} == {f"a.example.test:{port}" for port in service.ports[:2]}
    assert service.known.protected(SERVICE)


async def test_a_record_that_comes_and_one_that_goes(service: Service) -> None:
    first, second = await service.server(0), await service.server(1)
    client = await service.client(service.record(0))
    await until(lambda: first.tunnel.connected)
    service.listed.answer = (service.record(1),)
    await until(lambda: second.tunnel.connected)
    assert first.tunnel.connected  # until it is lost
    first.tunnel.stop_listening()
    await until(lambda: service.in_use(client) == {1})
    assert second.tunnel.opened == 1


@pytest.mark.parametrize("failure", [TimeoutError(errno.ETIMEDOUT, "the name servers do not answer"), NO_SUCH_NAME])
async def test_servers_stay_while_their_name_is_not_found(service: Service, failure: OSError) -> None:
    server = await service.server(0)
    client = await service.client(service.record(0))
    await until(lambda: server.tunnel.connected)
    service.listed.answer = failure
    await service.asked_again()
    assert server.tunnel.opened == 1
    assert client.session().connected


async def test_a_name_without_servers_is_one_clear_line(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    client = await service.client(Record(1, "no host", 1), Record(1, "a.example.test", 0))
    problem = f"can't look up all:{SERVICE}: none of its SRV records names a host and a port"
    await until(lambda: client.session().problem == problem)
    assert [line for line in caplog.messages if "look up" in line] == [problem]


async def test_the_reserve_is_in_use_while_all_others_are_lost(service: Service) -> None:
    first, reserve = await service.server(0), await service.server(2)
    client = await service.client(service.record(0), service.record(2, priority=20))
    await until(lambda: first.tunnel.connected)
    assert (service.in_use(client), reserve.tunnel.opened) == ({0}, 0)
    await first.stop()
    await until(lambda: reserve.tunnel.connected)
    assert service.in_use(client) == {0, 2}
    first = await service.server(0)
    await until(lambda: service.in_use(client) == {0})
    assert first.tunnel.connected
    assert reserve.tunnel.opened == 1


async def test_a_priority_that_changes_takes_effect(service: Service) -> None:
    first, second = await service.server(0), await service.server(1)
    client = await service.client(service.record(0), service.record(1, priority=20))
    await until(lambda: first.tunnel.connected)
    service.listed.answer = (service.record(1), service.record(0, priority=20))
    await until(lambda: service.in_use(client) == {1})
    assert second.tunnel.connected


async def test_a_service_that_fails_makes_way_for_the_next_server(net: Net, service: Service) -> None:
    server = await service.server(1)
    other = f'servers = [{{ addr = "{HOST}:{service.ports[1]}" }}]'
    service.listed.answer = (service.record(0), service.record(2, priority=20))  # no server listens
    config = client_config(net.transport, f"all:{SERVICE}", other)
    await net.connect(config, names=Names(a_example_test=HOST), services=service.listed)
    await until(lambda: server.tunnel.connected)
