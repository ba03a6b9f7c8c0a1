"""Look-ups of SRV records, answered by a name server of the test."""

import re
from collections.abc import Iterator

import pytest

from backhaul.net.services import Record, Records, records_of

pytest.importorskip("dns", reason="SRV records require dnspython")

from dns.rcode import SERVFAIL
from tests.support.name_server import NameServer

SERVICE = "_backhaul._tcp.example.org"


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    records = {
        SERVICE: ["20 0 443 z.example.", "10 5 3081 b.example.", "10 9 3080 a.example."],
        "_none._tcp.example.org": ["0 0 0 ."],
        "_empty._tcp.example.org": [],
        "_odd._tcp.example.org": ["1 0 80 a\\013\\010b.example."],
    }
    with NameServer(records) as name_server:
        yield name_server


def look_up(name_server: NameServer, name: str) -> Records:
    return records_of(name, name_server.resolver)


def test_the_servers_of_the_lowest_priority_come_first(name_server: NameServer) -> None:
    assert look_up(name_server, SERVICE) == (
        Record(10, "a.example", 3080),
        Record(10, "b.example", 3081),
        Record(20, "z.example", 443),
    )


def test_a_name_holds_no_control_characters(name_server: NameServer) -> None:
    [record] = look_up(name_server, "_odd._tcp.example.org")
    assert record.host.isprintable()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("_other._tcp.example.org", "no such name, or it has no SRV records"),
        ("_empty._tcp.example.org", "no such name, or it has no SRV records"),
        ("_none._tcp.example.org", "its SRV record says that the service is not offered"),
        ("_backhaul._tcp..example.org", "the name servers fail: A DNS label is empty."),
    ],
)
def test_a_service_that_does_not_exist(name_server: NameServer, name: str, problem: str) -> None:
    with pytest.raises(OSError, match=f"{re.escape(problem)}$"):
        look_up(name_server, name)


def test_a_name_server_that_is_silent(name_server: NameServer) -> None:
    name_server.answers = False
    with pytest.raises(TimeoutError, match="the name servers do not answer"):
        look_up(name_server, SERVICE)


def test_a_name_server_that_fails(name_server: NameServer) -> None:
    name_server.rcode = SERVFAIL
    with pytest.raises(OSError, match=r"the name servers fail: .*SERVFAIL"):
        look_up(name_server, SERVICE)
