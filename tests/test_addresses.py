"""The addresses of peers as logs, limits and lists have them."""

import socket
from ipaddress import IPv6Address

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from backhaul.addresses import LOCAL, plain_ip
from backhaul.failures import network_of
from backhaul.networks import Networks

TRANSLATED = IPv6Address("::ffff:0:192.0.2.7")  # RFC 2765, 2.1


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("fe80::7%eth0.2", "fe80::7"),
        (LOCAL, LOCAL),
    ],
)
def test_a_peer_in_plain_words(host: str, plain: str) -> None:
    assert plain_ip((host, 1)) == plain


@given(st.binary(min_size=16, max_size=16))
@example(TRANSLATED.packed)
def test_every_ipv6_address_is_one_for_limits_and_lists(packed: bytes) -> None:
    address = IPv6Address(packed)
    assume(not address.ipv4_mapped)
    plain = plain_ip((socket.inet_ntop(socket.AF_INET6, packed), 1))  # as the socket module does
    assert IPv6Address(plain) == address
    assert plain in Networks([f"{address}/128"])
    assert IPv6Address(network_of(plain).removesuffix("/64")).packed[:8] == address.packed[:8]
