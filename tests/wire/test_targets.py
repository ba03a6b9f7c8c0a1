import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.texts import CHARACTERS

from backhaul.wire.targets import LOOPBACK, BadTargetError, Target, parse_ip, parse_target

PORTS = st.integers(1, 65535)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("5201", Target(LOOPBACK, 5201)),
        (":5201", Target(LOOPBACK, 5201)),
        ("127.0.0.1:7100", Target("127.0.0.1", 7100)),
        ("db.example:65535", Target("db.example", 65535)),
        ("[::1]:5201", Target("::1", 5201)),
        ("[fe80::1%eth0]:1", Target("fe80::1%eth0", 1)),
        ("host:0080", Target("host", 80)),
        ("unix:80", Target("unix", 80)),
        ("unix:/run/app.sock", Target("/run/app.sock", 0)),
        ("unix:/run/an app:80", Target("/run/an app:80", 0)),
        ("unix:/" + "x" * 106, Target("/" + "x" * 106, 0)),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "host",
        "host:",
        "0",
        "65536",
        "host:65536",
        "host:-1",
        "host:+1",
        "host:1_0",
        "host: 80",
        "host:٣",
        "9" * 5000,
        "0000199999999",
    ],
)
def test_a_target_without_a_valid_port(text: str) -> None:
    with pytest.raises(BadTargetError, match="no valid port"):
        parse_target(text)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/" + "x" * 107, "at most 107 bytes"),
        ("/" + "é" * 60, "at most 107 bytes"),
        ("/run/../etc/x", "without"),
        ("/run/./x", "without"),
        ("/run//x", "without"),
        ("//run/x", "without"),
        ("/run/", "without"),
        ("/run/\0x", "no control characters"),
        ("/run/\nx", "no control characters"),
        ("/run/\ud800", "no control characters"),
    ],
)
def test_invalid_paths(path: str, complaint: str) -> None:
    with pytest.raises(BadTargetError, match=complaint):
        parse_target(f"unix:{path}")


@pytest.mark.parametrize("text", ["[unix:/run/app.sock]:80", "[/run/app.sock]:80", "/run/app.sock:80"])
def test_a_target_with_a_port_is_no_path(text: str) -> None:
    assert parse_target(text).port == 80


@pytest.mark.parametrize("text", ["::1:5201", "a:b:80", "[::1:5201", "::1]:5201"])
def test_an_address_with_colons_needs_brackets(text: str) -> None:
    with pytest.raises(BadTargetError, match="needs brackets"):
        parse_target(text)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1\0.example.com", "a b", "a\tb", "a\nb", " ", "[::1%\0]", "a\x7f", "a\u00a0b", "a\u200bb", "a\u3000b"],
)
def test_a_host_with_invisible_characters_is_no_target(host: str) -> None:
    with pytest.raises(BadTargetError, match="spaces or control characters") as error:
        parse_target(f"{host}:80")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("10.0.0.1%x.example", "None"),
        ("10.0.0.1.", "None"),
        ("010.0.0.1", "None"),
        ("name.example", "None"),
    ],
)
def test_addresses_and_names(host: str, address: str) -> None:
    assert str(parse_ip(host)) == address


@given(st.ip_addresses(v=4), PORTS)
def test_every_ipv4_target(address: object, port: int) -> None:
    assert parse_target(f"{address}:{port}") == Target(str(address), port)


@given(st.ip_addresses(v=6), PORTS)
def test_every_ipv6_target(address: object, port: int) -> None:
    assert parse_target(f"[{address}]:{port}") == Target(str(address), port)


@given(st.text(CHARACTERS))
def test_any_text_is_a_target_or_a_bad_target(text: str) -> None:
    try:
        target = parse_target(text)
    except BadTargetError:
        return
    assert target.host
    assert 0 < target.port <= 65535
