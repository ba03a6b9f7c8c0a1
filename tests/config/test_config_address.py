"""The addresses of the tunnel."""

import pytest
from tests.support.config import CLIENT, problems

from backhaul.config import Address, ClientConfig, ServerConfig
from backhaul.config.address import parse_remote
from backhaul.config.loader import parse


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:3080", Address("0.0.0.0", 3080)),
        (":3080", Address("", 3080)),
        ("[::]:3080", Address("::", 3080)),
        ("host.example:65535", Address("host.example", 65535)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    config = parse(f'[server]\nbind_addr = "{text}"\ntransport = "tcp"')
    assert isinstance(config, ServerConfig)
    assert config.bind_addr == address
    assert str(config.bind_addr) == text


@pytest.mark.parametrize(
    "text", ["host", "1.1.1.1", "host:", "host:0", "host:65536", "host:x", "::1:80", "[::1]", "[::1]80", "", "a b:1",
             "1.1.1:80", "wss://host:443"],
)  # fmt: skip
@pytest.mark.parametrize("transport", ["tcp", "wss"])
def test_a_remote_address_needs_host_and_port(text: str, transport: str) -> None:
    [problem] = problems(f'[client]\nremote_addr = "{text}"\ntransport = "{transport}"')
    assert problem.startswith("client.remote_addr: ")
    assert "example.com:3080" in problem


@pytest.mark.parametrize("scheme", ["http://", "wss://", "tcp://"])
def test_a_url_is_refused_as_remote_address(scheme: str) -> None:
    [problem] = problems(CLIENT.replace("example.com:3080", f"{scheme}example.com:3080/"))
    assert problem.endswith(f'got "{scheme}example.com:3080/" (remove {scheme})')


@pytest.mark.parametrize("text", [":3080", "[]:3080"])
def test_a_remote_address_without_a_host_is_this_machine(text: str) -> None:
    """As in v0.7.2: Go dials 0.0.0.0, which Linux takes for 127.0.0.1."""
    config = parse(CLIENT.replace("example.com:3080", text))
    assert isinstance(config, ClientConfig)
    assert config.remote_addr == Address("127.0.0.1", 3080)


def test_unscoped_removes_the_interface_of_a_link_local_address() -> None:
    address = parse_remote("[fe80::a%eth0]:3080")
    assert str(address) == "[fe80::a%eth0]:3080"
    assert str(address.unscoped) == "[fe80::a]:3080"
