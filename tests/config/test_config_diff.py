"""Differences between two configurations, for a reload."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.config import PortMapping
from backhaul.config.diff import Change, diff, protects_alike
from backhaul.config.loader import parse
from backhaul.config.schema import Config


def server(ports: list[str] | None = None, *, lines: str = "", transport: str = "tcp", bind: str = ":3080") -> Config:
    return parse(f'[server]\nbind_addr = "{bind}"\ntransport = "{transport}"\nports = {ports or []}\n{lines}')


def client(lines: str = "") -> Config:
    return parse(f'[client]\nremote_addr = "example.com:3080"\ntransport = "tcp"\n{lines}')


def test_equal_configurations_change_nothing() -> None:
    assert diff(server(["443"]), server(["443"])) == Change()
    assert diff(client(), client()) == Change()


def test_ports_are_added_removed_and_retargeted() -> None:
    change = diff(server(["443=1", "444", "127.0.0.2:445=2"]), server(["443=9", "127.0.0.2:445=2", "446"]))
    assert change == Change(
        ports_added=(PortMapping("", 446, "446"),),
        ports_removed=(PortMapping("", 444, "444"),),
        ports_retargeted=(PortMapping("", 443, "9"),),
    )


def test_another_bind_address_is_another_port() -> None:
    change = diff(server(["443=1"]), server(["127.0.0.2:443=1"]))
    assert change.ports_removed == (PortMapping("", 443, "1"),)
    assert change.ports_added == (PortMapping("127.0.0.2", 443, "1"),)


@pytest.mark.parametrize(
    ("new", "name"),
    [
        (server(bind=":3081"), "bind_addr"),
        (server(transport="ws"), "transport"),
        (server(lines='token = "t"'), "token"),
        (server(lines="mux_version = 2"), "mux_version"),
        (server(lines='path = "/app"'), "path"),
        (server(lines='security = "required"'), "security"),
        (server(lines="encryption = true"), "encryption"),
        (server(lines='tls_cert = "new.crt"'), "tls_cert"),
    ],
)
def test_a_new_identity_rebuilds_the_tunnel(new: Config, name: str) -> None:
    assert diff(server(), new) == Change(rebuild=True, changed=(name,))


@pytest.mark.parametrize(
    ("lines", "alike"),
    [
        ("nodelay = true", True),
        ('edge_ip = "192.0.2.1"', True),
        ('token = "t"', False),
        ('security = "required"', False),
        ("encryption = true", False),
        ('proxy = "socks5://192.0.2.1:1080"', False),
        ("tls_verify = true", False),
        ('tls_ca = "ca.pem"', False),
        ('tls_server_name = "tunnel.example"', False),
        (f'tls_fingerprint = "{"ab" * 32}"', False),
        ('bind_interface = "eth1"', False),
        ("mark = 7", False),
    ],
)
def test_a_key_that_protects_the_tunnel_is_known(lines: str, *, alike: bool) -> None:
    assert protects_alike(client(), client(lines)) is alike


def test_other_keys_are_named() -> None:
    change = diff(server(), server(lines='heartbeat = 7\nlog_level = "debug"'))
    assert (change.rebuild, sorted(change.changed)) == (False, ["heartbeat", "log_level"])
    assert diff(client(), client("retry_interval = 9")).changed == ("retry_interval",)
    assert diff(client(), client('tls_fingerprint = "' + "ab" * 32 + '"')).rebuild


def test_a_change_of_side_replaces_everything() -> None:
    ports = (PortMapping("", 443, "443"),)
    assert diff(server(["443"]), client()) == Change(
        ports_removed=ports, rebuild=True, restart=("client",), changed=("client",)
    )
    assert diff(client(), server(["443"])) == Change(
        ports_added=ports, rebuild=True, restart=("server",), changed=("server",)
    )


BINDS = st.dictionaries(st.integers(1, 20), st.integers(1, 3))


@given(BINDS, BINDS)
def test_the_change_leads_from_old_to_new(old: dict[int, int], new: dict[int, int]) -> None:
    before, after = (server([f"{port}={target}" for port, target in side.items()]) for side in (old, new))
    change = diff(before, after)
    listening = {port: str(target) for port, target in old.items()}
    for mapping in change.ports_removed:
        del listening[mapping.bind_port]
    for mapping in change.ports_retargeted:
        assert listening[mapping.bind_port] != mapping.target
        listening[mapping.bind_port] = mapping.target
    for mapping in change.ports_added:
        assert mapping.bind_port not in listening
        listening[mapping.bind_port] = mapping.target
    assert listening == {port: str(target) for port, target in new.items()}
