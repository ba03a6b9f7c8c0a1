"""The doctor on the way to servers that SRV records list."""

import socket

import pytest
from tests.support.doctor import answering, around, gathered, verdicts
from tests.support.net import HOST, free_port, until
from tests.support.tunnel import Net, client_config

from backhaul.config import ClientConfig
from backhaul.doctor import services, throughput
from backhaul.doctor.circumstances import Spare, Waits
from backhaul.doctor.finding import Finding, Verdict
from backhaul.net.services import Record, ServiceLookUp
from backhaul.wire.targets import Target

pytest.importorskip("dns", reason="SRV records require dnspython")

SERVICE = "_backhaul._tcp.example.test"


async def findings(config: ClientConfig, look_up: ServiceLookUp) -> list[Finding]:
    return await gathered(services.travel(config, around(services=look_up, names=answering(HOST))))


async def test_each_server_is_visited(net: Net) -> None:
    ports = free_port(), free_port()
    await net.server(ports[0])
    records = tuple(Record(10, "a.example.test", port) for port in sorted(ports))
    found = await findings(client_config(net.transport, f"all:{SERVICE}"), lambda _: records)
    served, missing = (f"a.example.test:{port}" for port in ports)
    listed = ", ".join(f"a.example.test:{port} (priority 10)" for port in sorted(ports))
    assert found[0].text == f"{SERVICE}: 2 servers: {listed}"
    assert verdicts(found)[f"tcp of {served}"] is Verdict.OK
    assert verdicts(found)[f"tcp of {missing}"] is Verdict.FAULT


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no such name"), "no such name"),
        (TimeoutError(), "the name servers do not answer within 5 s"),
    ],
)
async def test_a_service_that_is_not_found(net: Net, failure: OSError, text: str) -> None:
    def look_up(name: str) -> tuple[Record, ...]:
        raise failure

    config = client_config(net.transport, f"all:{SERVICE}")
    [finding] = await findings(config, look_up)
    assert (finding.subject, finding.verdict, finding.text) == ("service", Verdict.FAULT, f"{SERVICE}: {text}")
    assert "dig SRV" in finding.remedy
    spare = Spare(free_port(), Target(HOST, free_port()))
    [measured] = await gathered(throughput.examine(config, around(services=look_up), spare))
    assert measured.text == finding.text


async def test_throughput_is_measured_through_the_first_server(net: Net) -> None:
    port, spare = free_port(), Spare(free_port(), Target(HOST, free_port()))
    server = await net.server(port, [f"{spare.port}={spare.target.port}"])
    config = client_config(net.transport, f"all:{SERVICE}")
    names, records = answering(HOST), (Record(0, "a.example.test", port),)
    circumstances = around(services=lambda _: records, names=names, waits=Waits(transfer=0.1))
    await net.connect(config, names=names, services=circumstances.services)
    await until(lambda: server.tunnel.connected)
    [finding] = await gathered(throughput.examine(config, circumstances, spare))
    assert finding.verdict is Verdict.OK
