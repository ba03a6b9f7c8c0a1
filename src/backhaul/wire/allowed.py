"""The targets that a server may send a client to.

An entry is ``host``, ``host:port``, ``host:port-port``, a network, ``*.example.com``, ``:port`` or ``unix:/path``.
Names are compared as the server wrote them. A name without an entry may still lead into an allowed network. Each of its
addresses decides that, so the owner of a name can't lead the client elsewhere. A Unix socket needs an entry of its own,
in which ``*`` stands for any part of a name between two slashes.
"""

import re
from collections.abc import Iterable
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from .targets import LOOPBACK, MAX_PORT, UNIX_PREFIX, names_path, parse_ip, path_problem

_Address = IPv4Address | IPv6Address

_HERE = frozenset({"", "localhost"})
_LOOPBACKS = (f"{LOOPBACK}/32", "::1/128")
_NAME = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*\.?|\*")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)
_ALL_PORTS = range(1, MAX_PORT + 1)


class Verdict(Enum):
    """The decision about a target before its name is looked up."""

    ALLOWED = auto()
    REFUSED = auto()
    BY_ADDRESS = auto()  # allowed at those of its addresses that are in an allowed network


class NameRule(NamedTuple):
    """A name, all names below one (``*.example.com``), or everything (``*``)."""

    pattern: str
    ports: range

    def covers(self, host: str, port: int) -> bool:
        """Return whether a target matches; ``host`` is in lower case, without a dot at its end."""
        if port not in self.ports:
            return False
        if self.pattern.startswith("*."):
            return host.endswith(self.pattern[1:])
        return self.pattern in {"*", host}


class NetworkRule(NamedTuple):
    """A network, or a single address."""

    network: IPv4Network | IPv6Network
    ports: range

    def covers(self, address: _Address, port: int) -> bool:
        """Return whether a target matches."""
        return address in self.network and port in self.ports


class PathRule(NamedTuple):
    """A Unix socket, or several."""

    pattern: re.Pattern[str]

    def covers(self, path: str) -> bool:
        """Return whether a target matches."""
        return self.pattern.fullmatch(path) is not None


Rule = NameRule | NetworkRule | PathRule


def parse_rules(text: str) -> list[Rule]:
    """Return the rules that an entry stands for. Raises ValueError with the mistake."""
    if names_path(text):
        return [_path_rule(text.removeprefix(UNIX_PREFIX))]
    host, ports = _split(text)
    if not host and not ports:
        raise ValueError("it names neither a host nor a port")
    span = _span(ports) if ports else _ALL_PORTS
    if host.lower() in _HERE:
        return [NameRule("localhost", span), *(NetworkRule(ip_network(address), span) for address in _LOOPBACKS)]
    if network := _network(host):
        return [NetworkRule(network, span)]
    if not _NAME.fullmatch(host) or host.rstrip(".").rpartition(".")[2].isdigit():
        raise ValueError("the host is neither a name, nor an address, nor a network such as 10.0.0.0/8")
    return [NameRule(_plain(host), span)]


ALLOWED: Final = Verdict.ALLOWED  # a global, because in Python 3.11 a member of an enum takes seven times as long
REFUSED: Final = Verdict.REFUSED


class AllowList:
    """Decides about targets; without entries it allows all but Unix sockets.

    A Unix socket can be worth more than any port: that of a container engine makes its users root. So a server reaches
    a Unix socket only if an entry of the client names it.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        rules = [rule for entry in entries for rule in parse_rules(entry)]
        self._everything = not rules
        self._names = [rule for rule in rules if isinstance(rule, NameRule)]
        self._networks = [rule for rule in rules if isinstance(rule, NetworkRule)]
        self._paths = [rule for rule in rules if isinstance(rule, PathRule)]

    def judge(self, host: str, port: int) -> Verdict:
        """Decide about a target by its text; without a port ``host`` is the path of a Unix socket."""
        if self._everything and port:
            return ALLOWED
        if not port:
            return ALLOWED if any(rule.covers(host) for rule in self._paths) else REFUSED
        name = _plain(host)
        if any(rule.covers(name, port) for rule in self._names):
            return ALLOWED
        address = _address(host)
        if address:
            return ALLOWED if self._reaches(address, port) else REFUSED
        return Verdict.BY_ADDRESS if any(port in rule.ports for rule in self._networks) else REFUSED

    def remedy(self, target: str) -> str:
        """Return how to allow a refused target; a first entry must not forbid what was allowed without any."""
        entry = f'set allow_targets = ["*", "{target}"]' if self._everything else "add it"
        return f"{entry} if the server may reach it"

    def allows_address(self, host: str, port: int) -> bool:
        """Return whether an address may be dialled for a name that was judged ``BY_ADDRESS``."""
        address = _address(host)
        return address is not None and self._reaches(address, port)

    def _reaches(self, address: _Address, port: int) -> bool:
        return any(rule.covers(address, port) for rule in self._networks)


def _path_rule(path: str) -> PathRule:
    if problem := path_problem(path):
        raise ValueError(problem)
    return PathRule(re.compile("[^/]*".join(map(re.escape, path.split("*")))))


def _split(text: str) -> tuple[str, str]:
    """Return host and ports of an entry; empty ports stand for all."""
    if _PORTS.fullmatch(text):
        return "", text
    host, colon, ports = text.rpartition(":")
    if text.endswith("]") or not colon:
        host, ports = text, ""
    elif not ports:
        raise ValueError("the port is missing after the colon")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], ports
    if ":" in host:
        raise ValueError("an IPv6 address or network stands in brackets, such as [2001:db8::/32]:443")
    return host, ports


def _span(text: str) -> range:
    found = _PORTS.fullmatch(text)
    first = int(found[1]) if found else 0
    last = int(found[2] or first) if found else 0
    if not 1 <= first <= last <= MAX_PORT:
        raise ValueError("a port is a number from 1 to 65535, a range runs upwards, such as 80-90")
    return range(first, last + 1)


def _network(host: str) -> IPv4Network | IPv6Network | None:
    if "%" in host:
        raise ValueError(f"leave {host[host.index('%') :]} out: an entry applies to all interfaces")
    try:
        found = ip_network(host, strict=False)
    except ValueError:
        return None
    if str(found.network_address) != str(ip_address(host.partition("/")[0])):
        raise ValueError(f"write the network as {found}")
    return found


def _address(host: str) -> _Address | None:
    """Return the address that ``host`` spells, an IPv4-mapped one as IPv4; None for a name."""
    address = parse_ip(host)
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _plain(host: str) -> str:
    return host.lower().rstrip(".")
