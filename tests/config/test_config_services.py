"""Servers that SRV records list, in a client's configuration."""

import sys

import pytest
from tests.support.config import CLIENT, problems

from backhaul.config import Address, ClientConfig
from backhaul.config.address import EveryAddress, ServiceAddress
from backhaul.config.loader import parse

pytest.importorskip("dns", reason="SRV records require dnspython")


def text(address: str, lines: str = "") -> str:
    return f"{CLIENT}{lines}\n".replace("example.com:3080", address)


def served(address: str, lines: str = "") -> ClientConfig:
    config = parse(text(address, lines))
    assert isinstance(config, ClientConfig)
    return config


def test_a_name_may_stand_for_the_servers_of_its_records() -> None:
    other = served("all:_backhaul._tcp.b.example")
    assert other.remote_addr == ServiceAddress("_backhaul._tcp.b.example", 0)
    assert str(other.remote_addr) == "all:_backhaul._tcp.b.example"
    every = served("all:_backhaul._tcp.b.example:1")
    assert every.remote_addr == EveryAddress("_backhaul._tcp.b.example", 1)


@pytest.mark.parametrize(
    ("host", "given", "verified"),
    [
        ("a.Example.org", "", "a.Example.org"),
        ("example.org", "", "example.org"),
        ("a.example.net", "", "example.org"),
        ("anexample.org", "", "example.org"),
        ("a.example.org", "given.example", "given.example"),
    ],
)
def test_the_name_that_is_verified_is_in_the_domain_of_the_service(host: str, given: str, verified: str) -> None:
    config = served("all:_backhaul._tcp.example.org", f'tls_server_name = "{given}"')
    one = config.at(Address(host, 3080))
    assert (one.remote_addr, one.tls_server_name) == (Address(host, 3080), verified)
    assert one.remembered_as == "_backhaul._tcp.example.org"


def test_records_require_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dns", None)
    line = 'requires dnspython; `pip install "backhaul[srv]"` installs it'
    servers = 'servers = [{ addr = "all:_b._tcp.example.org" }, { addr = "all:b.example:1" }]'
    assert problems(text("all:_a._tcp.example.org", servers)) == (
        f"client.remote_addr: all:_a._tcp.example.org {line}",
        f"client.servers[1].addr: all:_b._tcp.example.org {line}",
    )


def test_a_service_has_two_labels_before_its_domain() -> None:
    [problem] = problems(text("all:_backhaul.example"))
    assert "a service is all:_service._tcp.name; every address of a name is all:name:port" in problem
