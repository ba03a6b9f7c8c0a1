"""The kinds of users that ports serve: SOCK_STREAM for TCP, SOCK_DGRAM for UDP."""

from dataclasses import dataclass, replace
from socket import SOCK_DGRAM, SOCK_STREAM, SocketKind

from .ports import PortMapping
from .schema import ServerConfig


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds of users of all ports."""

    usual: frozenset[SocketKind]
    """Those of a port that names none."""
    possible: frozenset[SocketKind]

    def of(self, mapping: PortMapping) -> frozenset[SocketKind]:
        """Return the kinds of users of one port."""
        kinds = self.possible & mapping.kinds
        return kinds if mapping.protocol else kinds & self.usual

    def without_datagrams(self) -> "Kinds":
        """Return the same without UDP."""
        return replace(self, possible=self.possible - {SOCK_DGRAM})


def kinds_of(config: ServerConfig) -> Kinds:
    """Return the kinds of users that the ports of a server serve."""
    if config.facts.datagrams:
        return Kinds(frozenset({SOCK_DGRAM}), frozenset({SOCK_DGRAM}))
    both = frozenset({SOCK_STREAM, SOCK_DGRAM})
    return Kinds(both if config.accept_udp else frozenset({SOCK_STREAM}), both)
