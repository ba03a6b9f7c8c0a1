"""Sets of networks."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.networks import Networks, parse_lines

ADDRESSES = st.ip_addresses()
NETWORKS = st.builds(
    lambda address, bits: str(ipaddress.ip_network((address, bits % (address.max_prefixlen + 1)), strict=False)),
    ADDRESSES.filter(lambda address: not getattr(address, "ipv4_mapped", None)),
    st.integers(1, 128),
).filter(lambda text: not text.startswith("::"))


@given(st.lists(NETWORKS, max_size=5), ADDRESSES)
def test_a_set_holds_what_any_of_its_networks_holds(texts: list[str], address: ipaddress.IPv4Address) -> None:
    expected = any(address in ipaddress.ip_network(text) for text in texts)
    assert (str(address) in Networks(texts)) == expected
    assert all(text.partition("/")[0] in Networks(texts) for text in texts)


def test_a_file_holds_a_network_on_each_line() -> None:
    found = parse_lines("# the office\n192.0.2.0/24  # with a comment\n\n2001:db8::1\n")
    assert found.size == 2
    assert "192.0.2.9" in found
    assert "2001:db8::2" not in found


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("\n10.0.0.1/8\n", "line 2: .*has host bits set"),
        ("example.com", "line 1: write a network such as"),
        ("::ffff:10.0.0.1", "in its own form"),
    ],
)
def test_a_mistake_in_a_file_names_the_line(text: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=mistake):
        parse_lines(text)


def test_a_file_that_holds_something_else_is_not_quoted() -> None:
    with pytest.raises(ValueError, match="line 2: write a network") as caught:
        parse_lines("# users\nroot:secret:0:0\n")
    assert "root" not in str(caught.value)
    with pytest.raises(ValueError, match="has host bits set"):
        parse_lines("10.0.0.1/8")
