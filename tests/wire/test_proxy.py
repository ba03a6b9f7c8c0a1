from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.proxy import decode

from backhaul.wire.proxy import header, header_without_addresses

PORTS = st.integers(0, 65535)
# The mapped ones stand for IPv4 and have a test of their own.
V6 = st.ip_addresses(v=6).filter(lambda address: not getattr(address, "ipv4_mapped", None))


def test_the_bytes_of_the_transcript() -> None:
    expected = "0d0a0d0a000d0a515549540a2111000c7f0000017f0000019324c6ec"
    assert header("v2", ("127.0.0.1", 0x9324), ("127.0.0.1", 0xC6EC)).hex() == expected


@given(st.ip_addresses(v=4), PORTS, st.ip_addresses(v=4), PORTS)
def test_ipv4(source: IPv4Address, source_port: int, destination: IPv4Address, destination_port: int) -> None:
    ends = (str(source), source_port), (str(destination), destination_port)
    assert decode(header("v2", *ends)) == (*ends, b"")


@given(V6, PORTS, V6, PORTS)
def test_ipv6(source: IPv6Address, source_port: int, destination: IPv6Address, destination_port: int) -> None:
    ends = (str(source), source_port), (str(destination), destination_port)
    decoded = decode(header("v2", *ends))
    assert [IPv6Address(decoded.source[0]), IPv6Address(decoded.destination[0])] == [source, destination]
    assert (decoded.source[1], decoded.destination[1], decoded.rest) == (source_port, destination_port, b"")


def test_an_ipv4_user_of_a_dual_stack_listener_appears_as_ipv4() -> None:
    made = header("v2", ("::ffff:192.0.2.7", 5), ("::ffff:192.0.2.1", 443))
    assert made == header("v2", ("192.0.2.7", 5), ("192.0.2.1", 443))


def test_mixed_families_appear_as_ipv6() -> None:
    decoded = decode(header("v2", ("192.0.2.7", 5), ("2001:db8::1", 443)))
    assert decoded == (("::ffff:192.0.2.7", 5), ("2001:db8::1", 443), b"")


def test_the_zone_of_a_link_local_address_is_left_out() -> None:
    assert decode(header("v2", ("fe80::1%eth0", 5), ("fe80::2%eth0", 443))).source == ("fe80::1", 5)


def test_a_name_is_no_address() -> None:
    with pytest.raises(ValueError, match="localhost"):
        header("v2", ("localhost", 1), ("127.0.0.1", 2))


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        ("192.0.2.7", "192.0.2.1", b"PROXY TCP4 192.0.2.7 192.0.2.1 5 443\r\n"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.1", b"PROXY TCP4 192.0.2.7 192.0.2.1 5 443\r\n"),
        ("2001:db8::7", "2001:db8::1", b"PROXY TCP6 2001:db8::7 2001:db8::1 5 443\r\n"),
        ("fe80::7%eth0", "fe80::1%eth0", b"PROXY TCP6 fe80::7 fe80::1 5 443\r\n"),
        ("192.0.2.7", "2001:db8::1", b"PROXY UNKNOWN\r\n"),
        ("2001:db8::7", "192.0.2.1", b"PROXY UNKNOWN\r\n"),
    ],
)
def test_the_text_of_version_1(source: str, destination: str, line: bytes) -> None:
    assert header("v1", (source, 5), (destination, 443)) == line


def test_a_user_without_an_address() -> None:
    assert header_without_addresses("v1") == b"PROXY UNKNOWN\r\n"
    assert header_without_addresses("v2").hex() == "0d0a0d0a000d0a515549540a" + "20000000"


def test_the_longest_text_is_within_the_limit_of_the_specification() -> None:
    longest = (":".join(["ffff"] * 8), 65535)
    assert len(header("v1", longest, longest)) <= 107
