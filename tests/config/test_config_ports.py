"""The grammar of ``ports``."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.texts import CHARACTERS

from backhaul.config import ConfigError, PortMapping
from backhaul.config.ports import overlap, parse_entry, parse_ports

PORTS = st.integers(1, 65535)
V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).map(lambda ip: f"[{ip}]")
NAMES = st.sampled_from(["db.internal", "my-host", "a_b.example", "1-2.example"])
HOSTS = V4 | V6 | NAMES


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("443", [("", 443, "443")]),
        ("4000=5000", [("", 4000, "5000")]),
        (" 4000 = 5000 ", [("", 4000, "5000")]),
        (":4000=5000", [("", 4000, "5000")]),
        ("127.0.0.2:443=5201", [("127.0.0.2", 443, "5201")]),
        ("443=1.1.1.1:5201", [("", 443, "1.1.1.1:5201")]),
        ("127.0.0.2:443=1.1.1.1:5201", [("127.0.0.2", 443, "1.1.1.1:5201")]),
        ("443-445", [("", 443, "443"), ("", 444, "444"), ("", 445, "445")]),
        ("443 - 444", [("", 443, "443"), ("", 444, "444")]),
        ("443-444:5201", [("", 443, "5201"), ("", 444, "5201")]),
        ("443-444=1.1.1.1:5201", [("", 443, "1.1.1.1:5201"), ("", 444, "1.1.1.1:5201")]),
        ("[::1]:443=[2001:db8::1]:5201", [("::1", 443, "[2001:db8::1]:5201")]),
        ("localhost:443=db.internal:5432", [("localhost", 443, "db.internal:5432")]),
        ("443=:5201", [("", 443, ":5201")]),
        ("443-444=:80-81", [("", 443, ":80"), ("", 444, ":81")]),
        ("443=1-2.example:80", [("", 443, "1-2.example:80")]),
        ("1000-1001=2000-2001", [("", 1000, "2000"), ("", 1001, "2001")]),
        ("1000-1001=10.0.0.1:2000-2001", [("", 1000, "10.0.0.1:2000"), ("", 1001, "10.0.0.1:2001")]),
        ("127.0.0.2:1000-1001=[::1]:5-6", [("127.0.0.2", 1000, "[::1]:5"), ("127.0.0.2", 1001, "[::1]:6")]),
        ("1=65535", [("", 1, "65535")]),
        ("65535=1", [("", 65535, "1")]),
        ("443=unix:/run/app.sock", [("", 443, "unix:/run/app.sock")]),
        ("443-444=unix:/run/a:80", [("", 443, "unix:/run/a:80"), ("", 444, "unix:/run/a:80")]),
        ("443=unix:80", [("", 443, "unix:80")]),
        ("unix:/run/app.sock=443", [("/run/app.sock", 0, "443")]),
        ("unix:/run/a:80 = unix:/run/b", [("/run/a:80", 0, "unix:/run/b")]),
        ("unix:/run/udp=443", [("/run/udp", 0, "443")]),
        ("51820/udp", [("", 51820, "51820", "udp")]),
        (" 443 / tcp = 5201", [("", 443, "5201", "tcp")]),
        ("53/udp=9.9.9.9:53", [("", 53, "9.9.9.9:53", "udp")]),
        ("[::1]:443-444/udp=80-81", [("::1", 443, "80", "udp"), ("::1", 444, "81", "udp")]),
        ("443/tcp=unix:/run/udp", [("", 443, "unix:/run/udp", "tcp")]),
    ],
)
def test_every_form_gives_its_mappings(entry: str, expected: list[Any]) -> None:
    assert parse_entry(entry) == [PortMapping(*mapping) for mapping in expected]


@pytest.mark.parametrize(
    ("entry", "remedy"),
    [
        ("", "a number from 1 to 65535"),
        ("0", "a number from 1 to 65535"),
        ("65536", "a number from 1 to 65535"),
        ("9" * 5000, "a number from 1 to 65535"),
        ("-1", "a number from 1 to 65535"),
        ("443-", "a number from 1 to 65535"),
        ("0-10", "a number from 1 to 65535"),
        ("443-70000", "a number from 1 to 65535"),
        ("443=", "a number from 1 to 65535"),
        ("=443", "a number from 1 to 65535"),
        ("443=0", "a number from 1 to 65535"),
        ("443=host", "a number from 1 to 65535"),
        ("٤٤٣", "a number from 1 to 65535"),
        ("1-2-3", "a number from 1 to 65535"),
        ("600-443", "write 443-600"),
        ("443=600-443", "write 443-600"),
        ("443-600=1-2", "both ranges equally long"),
        ("443=1-2", "both ranges equally long"),
        ("1=2=3", "write listen=target"),
        ("443:5201", 'with "="'),
        ("127.0.0.2:443", 'with "="'),
        ("127.0.0.2:1-5:5201", 'with "="'),
        ("443-600:1.1.1.1:5201", 'with "="'),
        ("::1:443=80", "needs brackets"),
        ("443=2001:db8::1:80", "needs brackets"),
        ("[::1]443=80", "needs brackets"),
        ("[::1:443=80", "needs brackets"),
        ("300.1.1.1:443=80", "neither an IP address nor a host name"),
        ("a b:443=80", "neither an IP address nor a host name"),
        ("[gg::]:443=80", "neither an IP address nor a host name"),
        ("unix:app.sock=443", "is absolute, such as unix:/run/app.sock"),
        ("unix:/run/" + "x" * 103 + "=443", "at most 107 bytes"),
        ("unix:/run/app.sock", 'with "="'),
        ("unix:/run/app.sock=", "a number from 1 to 65535"),
        ("unix:/run/app.sock=80-81", "both ranges equally long"),
        ("443=unix:app.sock", "is absolute, such as unix:/run/app.sock"),
        ("443=unix:", "is absolute"),
        ("443=unix:/run/" + "x" * 103, "at most 107 bytes"),
        ("443=unix:/run/../app.sock", "is written without"),
        ("443/sctp", 'no protocol "sctp"; write /tcp or /udp after the port'),
        ("443/UDP", "write /tcp or /udp after the port"),
        ("443/", "write /tcp or /udp after the port"),
        ("/udp", "a number from 1 to 65535"),
        ("443=80/udp", "a number from 1 to 65535"),
        ("443/tcp/udp", "a number from 1 to 65535"),
        ("443/udp=unix:/run/app.sock", "a Unix socket serves TCP only; remove /udp"),
        (443, "write it in quotes"),
        (["443"], "write it in quotes"),
    ],
)
def test_a_mistake_names_entry_and_remedy(entry: object, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_ports([entry])
    [problem] = caught.value.problems
    assert problem.startswith("entry ")
    assert remedy in problem
    if isinstance(entry, str):
        assert entry in problem or not entry.isascii() or len(entry) > len(problem)


@given(bind=st.just("") | HOSTS, port=PORTS, host=st.just("") | HOSTS, target=PORTS)
def test_single_ports_keep_bind_and_target(bind: str, port: int, host: str, target: int) -> None:
    listen = f"{bind}:{port}" if bind else str(port)
    aim = f"{host}:{target}" if host else str(target)
    assert parse_entry(f"{listen}={aim}") == [PortMapping(bind.strip("[]"), port, aim)]


@given(first=PORTS, aim=PORTS, length=st.integers(1, 50), host=st.just("") | HOSTS.map(lambda host: host + ":"))
def test_a_range_moves_along_an_equal_range(first: int, aim: int, length: int, host: str) -> None:
    first, aim = min(first, 65536 - length), min(aim, 65536 - length)
    mappings = parse_entry(f"{first}-{first + length - 1}={host}{aim}-{aim + length - 1}")
    assert mappings == [PortMapping("", first + step, f"{host}{aim + step}") for step in range(length)]


@given(st.text(CHARACTERS) | st.text(alphabet="0123456789-=:.[]/abcdptu "))
def test_junk_is_refused_or_makes_sound_mappings(entry: str) -> None:
    try:
        mappings = parse_entry(entry)
    except ValueError:
        return
    assert mappings
    assert all(1 <= mapping.bind_port <= 65535 for mapping in mappings)
    assert all(mapping.target.isprintable() for mapping in mappings)


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("", "", True),
        ("", "127.0.0.2", True),
        ("", "::1", True),
        ("", "0.0.0.0", True),
        ("", "::", True),
        ("0.0.0.0", "127.0.0.2", True),
        ("0.0.0.0", "::1", True),
        ("0.0.0.0", "::", True),
        ("0.0.0.0", "localhost", True),
        ("::", "::1", True),
        ("::", "127.0.0.2", True),
        ("::", "localhost", True),
        ("127.0.0.2", "127.0.0.2", True),
        ("127.0.0.2", "127.0.0.3", False),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("LocalHost", "localhost", True),
        ("localhost", "127.0.0.1", False),
    ],
)
def test_overlap_of_bind_hosts(one: str, other: str, *, collide: bool) -> None:
    assert overlap(one, other) is collide
    assert overlap(other, one) is collide


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        (["443", "443"], ("443",)),
        (["443=1", "443=2"], ("443=1", "443=2")),
        (["440-450", "445=80"], ("440-450", "445=80")),
        (["127.0.0.2:443=5201", "443"], ("127.0.0.2:443=5201", "443")),
        (["443-445", "444-450:80"], ("443-445", "444-450:80")),
    ],
)
def test_a_collision_is_one_line_naming_both_entries(entries: list[str], named: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_ports(entries)
    [problem] = caught.value.problems
    assert all(f'entry "{entry}"' in problem for entry in named)
    assert "remove one of them" in problem


def test_separate_addresses_share_a_port() -> None:
    entries = ["127.0.0.2:443=1", "127.0.0.3:443=2", "[::1]:443=3"]
    assert [mapping.target for mapping in parse_ports(entries)] == ["1", "2", "3"]


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_ports(["x", "443", "0", "443"])
    assert len(caught.value.problems) == 3


def test_an_empty_list_is_accepted() -> None:
    assert parse_ports([]) == ()
