"""Sets of networks, which one look-up for each length of a prefix searches, however many networks there are."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Final

from .reading import MOST, read_file

_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_BITS: Final = {4: 32, 6: 128}
_REMEDY: Final = 'write a network such as "10.0.0.0/8" or "2001:db8::/32"'
# Only such a line is quoted: a user who may check a configuration could name any file.
_LIKE_A_NETWORK: Final = re.compile(r"[0-9A-Fa-f:./%]+").fullmatch


class Networks:
    """A set of IPv4 and IPv6 networks."""

    __slots__ = ("_prefixes", "size")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Take texts such as ``10.0.0.0/8`` or ``2001:db8::1``; raise ValueError with the first mistake."""
        self._prefixes: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}  # version → bits after the prefix → prefixes
        self.size = 0
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Add a network; raise ValueError."""
        network = parse_network(text)
        shift = _BITS[network.version] - network.prefixlen
        self._prefixes[network.version].setdefault(shift, set()).add(int(network.network_address) >> shift)
        self.size += 1

    def __contains__(self, ip: str) -> bool:
        version = 6 if ":" in ip else 4
        prefixes = self._prefixes[version]
        if not prefixes:
            return False
        address = int.from_bytes(socket.inet_pton(_FAMILIES[version], ip))
        return any(address >> shift in known for shift, known in prefixes.items())


def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read a network in CIDR form, or a single address; raise ValueError."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{_REMEDY}: {error}") from None
    if network.version == 6 and network.network_address.ipv4_mapped:  # noqa: PLR2004 - RFC 4291, 2.5.5.2
        raise ValueError("write the IPv4 network in its own form, such as 10.0.0.0/8")
    return network


def read_networks(path: str) -> Networks:
    """Read a file with one network on each line; raise OSError, or ValueError with the first mistake."""
    data = read_file(path)
    if len(data) > MOST:
        raise ValueError(f"larger than {MOST >> 20} MB; shorten the list")
    return parse_lines(data.decode("utf-8-sig"))


def parse_lines(text: str) -> Networks:
    """Read one network on each line; ``#`` begins a comment. Raises ValueError with the number of the line."""
    found = Networks()
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        try:
            if entry:
                found.add(entry)
        except ValueError as mistake:
            raise ValueError(f"line {number}: {mistake if _LIKE_A_NETWORK(entry) else _REMEDY}") from None
    return found
