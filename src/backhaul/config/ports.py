"""The grammar of ``ports``, the list of local ports and their targets.

    entry  = listen [ "=" target ]  |  range ":" port
    listen = [ bind ":" ] ( port | range ) [ "/tcp" | "/udp" ]  |  "unix:" path
    target = [ host ":" ] ( port | range )  |  "unix:" path
    range  = port "-" port
    bind, host = IPv4 address | "[" IPv6 address "]" | host name

An empty bind means all interfaces, an empty host the client's machine. A path names a Unix socket.

A range maps to one target or to a range of equal length; without a target every port maps to itself. A port without a
protocol serves TCP, and UDP if ``accept_udp`` says so; on transport udp it serves UDP.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from socket import SOCK_DGRAM, SOCK_STREAM, SocketKind
from typing import Final

from msgspec import Struct

from backhaul.wire.targets import names_path

from .address import Address, is_ip, parse_host, parse_path, parse_port, split_host_port
from .errors import ConfigError
from .keys import key
from .messages import brief

_ONE = range(1)  # a Unix socket: a single listener, with port 0
_PROTOCOLS: Final = {"tcp": frozenset({SOCK_STREAM}), "udp": frozenset({SOCK_DGRAM})}
_EVERY: Final = frozenset({SOCK_STREAM, SOCK_DGRAM})
_RANGE = re.compile(r"\d+\s*-\s*\d+", re.ASCII)


class PortMapping(Struct, frozen=True, gc=False):
    """One listening port; ``target`` is the text sent to the client.

    ``bind_host`` "" means all interfaces; the path of a Unix socket has port 0.
    """

    bind_host: str
    bind_port: int
    target: str
    protocol: str = ""
    """The only one that the port serves; empty if the entry names none."""

    @property
    def bind(self) -> str:
        """The address and the port, or the port alone if it listens on all addresses; then the protocol, if any."""
        spot = str(self.address) if self.bind_host else str(self.bind_port)
        return f"{spot}/{self.protocol}" if self.protocol else spot

    @property
    def address(self) -> Address:
        """The listening address."""
        return Address(self.bind_host, self.bind_port)

    @property
    def place(self) -> tuple[str, int, str]:
        """Where it listens: no two ports of a server have the same host, port and protocol."""
        return self.bind_host, self.bind_port, self.protocol

    def clashes(self, other: "PortMapping") -> bool:
        """Return whether only one of both can listen."""
        same = self.bind_port == other.bind_port and overlap(self.bind_host, other.bind_host)
        return same and not self.kinds.isdisjoint(other.kinds)

    @property
    def leads_to_path(self) -> bool:
        """True if the target is a Unix socket."""
        return names_path(self.target)

    @property
    def takes_datagrams(self) -> bool:
        """True if the port can serve UDP users."""
        return SOCK_DGRAM in self.kinds

    @property
    def kinds(self) -> frozenset[SocketKind]:
        """The kinds of users that the port can serve; a Unix socket on either side rules out those of UDP."""
        named = _PROTOCOLS[self.protocol] if self.protocol else _EVERY
        return named - {SOCK_DGRAM} if self.leads_to_path or self.address.is_path else named


def parse_ports(entries: Iterable[object]) -> tuple[PortMapping, ...]:
    """Expand all entries into mappings, in order.

    Raises ConfigError with every mistake: entries that do not parse, and entries that would listen on the same
    address and port for the same protocol.
    """
    problems: list[str] = []
    listed: list[tuple[str, list[PortMapping]]] = []
    for entry in entries:
        try:
            listed.append((brief(entry), parse_entry(entry)))
        except ValueError as mistake:
            problems.append(f"entry {brief(entry)}: {mistake}")
    problems += _collisions(listed)
    if problems:
        raise ConfigError(problems)
    return tuple(mapping for _, mappings in listed for mapping in mappings)


def parse_entry(entry: object) -> list[PortMapping]:
    """Expand one entry; raise ValueError naming the remedy."""
    if not isinstance(entry, str):
        raise ValueError('write it in quotes, such as "443" or "443=5201"')  # noqa: TRY004 - a user's mistake
    listen, target = _halves(entry)
    listen, protocol = _protocol(listen)
    host, ports = _listening(listen)
    mappings = [
        PortMapping(host, port, aim, protocol) for port, aim in zip(ports, _targets(target, ports), strict=True)
    ]
    if not all(mapping.kinds for mapping in mappings):
        raise ValueError("a Unix socket serves TCP only; remove /udp, or name a port")
    return mappings


def overlap(one: str, other: str) -> bool:
    """Return whether two bind hosts would collide on the same port.

    "", "0.0.0.0" and "::" cover every address of both families, as for Go.
    """
    one, other = _canonical(one), _canonical(other)
    return one == other or not one or not other


def _halves(entry: str) -> tuple[str, str | None]:
    sides = [side.strip() for side in entry.split("=")]
    if len(sides) > 2:  # noqa: PLR2004 - a listening side and a target
        raise ValueError('more than one "="; write listen=target')
    if len(sides) == 2:  # noqa: PLR2004
        return sides[0], sides[1]
    listen, colon, target = sides[0].partition(":")
    if not colon:
        return listen, None
    # v0.7.2 documents "443-600:5201"; any other colon might as well follow a bind address.
    if not _RANGE.fullmatch(listen) or not target.isdigit():
        raise ValueError('join the listening side and the target with "=", such as "127.0.0.2:443=5201"')
    return listen, target


def _protocol(listen: str) -> tuple[str, str]:
    """Split off the protocol; paths of Unix sockets have slashes of their own."""
    spot, slash, name = listen.rpartition("/")
    if not slash or names_path(listen):
        return listen, ""
    if name.strip() not in _PROTOCOLS:
        raise ValueError(f"no protocol {brief(name)}; write /tcp or /udp after the port")
    return spot.strip(), name.strip()


def _listening(text: str) -> tuple[str, range]:
    if names_path(text):
        return parse_path(text), _ONE
    if ":" not in text:
        return "", span(text)
    host, ports = split_host_port(text)
    return (parse_host(host) if host else ""), span(ports)


def _targets(text: str | None, ports: range) -> list[str]:
    if text is None:
        return [str(port) for port in ports]
    if names_path(text):
        parse_path(text)
        return [text] * len(ports)
    target_ports = _target_ports(text)
    aims = span(target_ports)
    if not _RANGE.fullmatch(target_ports):
        return [text] * len(ports)
    if len(aims) != len(ports):
        raise ValueError(
            f"{len(ports)} listening ports do not fit {len(aims)} target ports; "
            "make both ranges equally long or name one target port"
        )
    head = text.removesuffix(target_ports)
    return [f"{head}{port}" for port in aims]


def _target_ports(text: str) -> str:
    if ":" not in text:
        return text
    host, ports = split_host_port(text)
    if host:  # without one the client dials its own machine
        parse_host(host)
    return ports


def span(text: str) -> range:
    """Read a port or a range of ports; raise ValueError naming the remedy."""
    if not _RANGE.fullmatch(text):
        port = parse_port(text)
        return range(port, port + 1)
    first, last = (parse_port(end.strip()) for end in text.split("-"))
    if first > last:
        raise ValueError(f"the range runs backwards; write {last}-{first}")
    return range(first, last + 1)


def _collisions(listed: list[tuple[str, list[PortMapping]]]) -> Iterator[str]:
    """Yield one line for each entry that collides with an earlier one, naming the first such port."""
    taken: defaultdict[int, list[tuple[str, PortMapping]]] = defaultdict(list)
    for entry, mappings in listed:
        clashes = (
            f"entry {entry}: listens on {mapping.address.spot}, as entry {earlier} does; {_remedy(mapping, other)}"
            for mapping in mappings
            for earlier, other in taken[mapping.bind_port]
            if mapping.clashes(other)
        )
        yield from (clash for clash in [next(clashes, None)] if clash)
        for mapping in mappings:
            taken[mapping.bind_port].append((entry, mapping))


def _remedy(one: PortMapping, other: PortMapping) -> str:
    if one.protocol == other.protocol:
        return "remove one of them"
    return "remove one of them, or name the protocol in both (/tcp, /udp)"


def _canonical(host: str) -> str:
    if host.startswith("/"):
        return host
    if not is_ip(host):
        return host.lower()
    address = ip_address(host)
    return "" if address.is_unspecified else str(address)


PORTS_KEY: Final = key("Local ports and their targets; see Port mappings.", form="a list of texts", parse=parse_ports)
"""The key ``ports`` of a server, a client of it, and a group."""
