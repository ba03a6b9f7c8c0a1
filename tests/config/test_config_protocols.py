"""Ports for one protocol beside others of a configuration."""

from pathlib import Path

import pytest
from tests.support.config import problems

from backhaul.config import ServerConfig
from backhaul.config.diff import port_change
from backhaul.config.effective import settings
from backhaul.config.files import clashes
from backhaul.config.loader import parse
from backhaul.config.ports import parse_ports

SERVER = '[server]\nbind_addr = ":3080"\ntoken = "x"\n'
TAKEN = (
    'server.ports: entry "53/udp=9": listens on port 53, as entry "53" does; '
    "remove one of them, or name the protocol in both (/tcp, /udp)"
)
TCP = 'transport = "tcp"\n'


def of(lines: str) -> str:
    """Return the text of a server with these lines."""
    return SERVER + (lines if "transport" in lines else TCP + lines)


@pytest.mark.parametrize(
    "lines",
    [
        'ports = ["3080/udp"]',
        'ports = ["3080/udp"]\naccept_udp = true',
        'ports = ["80/udp"]\nweb_port = 80',
        'transport = "udp"\nports = ["80/udp"]',
    ],
)
def test_a_port_for_udp_leaves_that_of_tcp(lines: str) -> None:
    config = parse(of(lines))
    assert isinstance(config, ServerConfig)
    assert [mapping.protocol for mapping in config.ports] == ["udp"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('ports = ["3080/tcp"]', "server.ports: port 3080 is taken by bind_addr :3080; choose another for one of them"),
        (
            'transport = "udp"\nports = ["3080/udp"]',
            "server.ports: port 3080 is taken by bind_addr :3080; choose another for one of them",
        ),
        (
            'ports = ["80/tcp"]\nweb_port = 80',
            "server.web_port: port 80 is listed in ports too; choose another for one of them",
        ),
        (
            'transport = "udp"\nports = ["443/tcp"]',
            "server.ports: transport udp can't carry TCP for 443/tcp; remove /tcp, or use another transport",
        ),
        (
            'ports = ["53/udp", "127.0.0.1:53/udp=9"]',
            'server.ports: entry "127.0.0.1:53/udp=9": listens on port 53, as entry "53/udp" does; remove one of them',
        ),
        (
            'ports = ["53", "53/udp=9"]',
            TAKEN,
        ),
        (
            'clients = {a = {token = "a", ports = ["53/udp"]}, b = {token = "b", ports = ["53/udp"]}}',
            "server.clients.b.ports: port 53 is in clients.a.ports, too; remove it from one of them",
        ),
    ],
)
def test_a_mistake_is_one_line(lines: str, problem: str) -> None:
    assert problems(of(lines)) == (problem,)


def test_each_protocol_of_a_port_has_its_own_target() -> None:
    config = parse(of('ports = ["443/tcp=8443", "443/udp=9443", "53/tcp"]'))
    assert isinstance(config, ServerConfig)
    assert [mapping.target for mapping in config.ports] == ["8443", "9443", "53"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["443"], ["443/tcp", "443/udp=9"], ([("443", "443/tcp")], ["443/udp"], [])),
        (["443"], ["443/udp=9", "443/tcp"], ([("443", "443/tcp")], ["443/udp"], [])),
        (["443/tcp", "443/udp=9"], ["443"], ([("443/tcp", "443")], [], ["443/udp"])),
        (["443/tcp", "443/udp"], ["443/udp=9", "443/tcp"], ([("443/udp", "443/udp")], [], [])),
        (["443/tcp"], ["443/udp"], ([("443/tcp", "443/udp")], [], [])),
        (["443/tcp"], ["444/tcp", "443/tcp", "443/udp"], ([], ["444/tcp", "443/udp"], [])),
    ],
)
def test_the_difference_of_two_lists(
    before: list[str], after: list[str], expected: tuple[list[tuple[str, str]], list[str], list[str]]
) -> None:
    change = port_change(parse_ports(before), parse_ports(after))
    retargeted = [(pair.before.bind, pair.after.bind) for pair in change.retargeted]
    assert (retargeted, *([one.bind for one in ports] for ports in (change.added, change.removed))) == expected


@pytest.mark.parametrize(
    ("first", "other", "taken"),
    [
        ('ports = ["53/udp"]', 'ports = ["53/tcp"]', []),
        ('ports = ["53/udp"]', 'ports = ["53"]', []),
        ('ports = ["53/udp"]', 'ports = ["53"]\naccept_udp = true', ["server.ports: UDP port 53"]),
        ('ports = ["53"]\naccept_udp = true', 'ports = ["53"]\naccept_udp = true', ["server.ports: port 53"] * 2),
        ('ports = ["53/udp"]', 'transport = "udp"\nports = ["53"]', ["server.ports: UDP port 53"]),
        ('ports = ["3081/udp"]', 'transport = "udp"', ["server.bind_addr: UDP port 3081"]),
    ],
)
def test_ports_of_two_files_clash_by_protocol(first: str, other: str, taken: list[str]) -> None:
    one, two = parse(of(first)), parse(of(other).replace("3080", "3081"))
    found = list(clashes({Path("a.toml"): one, Path("b.toml"): two}))
    assert len(found) == len(taken)
    assert all(part.removeprefix("server.ports: ") in line for part, line in zip(taken, found, strict=True))


def test_a_header_for_some_ports() -> None:
    config = parse(of('ports = ["443", "80-82"]\nproxy_protocol = {443 = "v2", 80-81 = "v1"}'))
    assert isinstance(config, ServerConfig)
    assert [config.proxied.version(port) for port in (443, 80, 81, 82)] == ["v2", "v1", "v1", None]
    (shown,) = (one for one in settings(config) if one.name == "proxy_protocol")
    assert shown.value == '{443 = "v2", 80-81 = "v1"}'


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('{x = "v2"}', "proxy_protocol.x: a port is a number from 1 to 65535"),
        ('{80-79 = "v2"}', 'proxy_protocol."80-79": the range runs backwards; write 79-80'),
        ('{80-90 = "v2", 85 = "v1"}', 'proxy_protocol."85": names port 85 again; remove one'),
        ('{80 = "v3"}', 'proxy_protocol."80": expected "v1" or "v2", got "v3"'),
        ("{80 = true}", 'proxy_protocol."80": expected "v1" or "v2", got true'),
        ('{80 = ["v1"]}', 'proxy_protocol."80": expected "v1" or "v2", got ["v1"]'),
    ],
)
def test_a_wrong_table_is_one_line(table: str, problem: str) -> None:
    (found,) = problems(of(f'ports = ["80-90"]\nproxy_protocol = {table}'))
    assert found.startswith(f"server.{problem}")


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        ('ports = ["80"]\nproxy_protocol = {80 = "v2"}', None),
        ('ports = ["80", "53/udp"]\nproxy_protocol = {53 = "v2"}', "proxy_protocol: no effect on 53, which ports"),
        ('ports = ["80"]\nproxy_protocol = {443 = "v2"}', "proxy_protocol: no effect on 443, which ports"),
    ],
)
def test_a_header_that_goes_nowhere_is_warned_of(lines: str, warning: str | None) -> None:
    found = [line for line in parse(of(lines)).warnings if "no effect" in line]
    assert [line[: len(str(warning))] for line in found] == ([warning] if warning else [])


def test_a_health_check_of_a_group_without_tcp_is_warned_of() -> None:
    clients = "".join(f'[server.clients.{name}]\ntoken = "{name}"\n' for name in ("a", "b"))
    group = '[server.groups.dns]\nports = ["53/udp"]\nclients = ["a", "b"]\nhealth = "tcp"\n'
    found = [line for line in parse(of("") + clients + group).warnings if "health" in line]
    assert found == ["groups.dns.health: no effect, none of its ports serves TCP; remove it"]
