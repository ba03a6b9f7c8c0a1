"""The servers for which a name stands: at its addresses (A and AAAA records), or in its list (SRV records)."""

from typing import NamedTuple, Protocol

from backhaul.config import Address, ClientConfig
from backhaul.config.address import ServiceAddress
from backhaul.config.services import MOST, Ranks, ranks_of
from backhaul.net.connector import scoped_host
from backhaul.net.resolver import Resolver
from backhaul.net.services import Services


class NameResolvers(NamedTuple):
    """The look-ups of servers."""

    hosts: Resolver
    services: Services


class Listing(Protocol):
    """The servers for which a name stands."""

    async def look_up(self, config: ClientConfig) -> Ranks:
        """Return the servers. Raises OSError."""


class _Hosts:
    """The servers at all addresses of a name, with one rank."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def look_up(self, config: ClientConfig) -> Ranks:
        """Return the servers. Raises OSError."""
        remote = config.remote_addr
        found = await self._resolver.renewed(remote.host)
        return {Address(scoped_host(address), remote.port): 0 for _, address in found[:MOST]}


class _Service:
    """The servers of a service; their priorities are the ranks."""

    def __init__(self, resolver: Services) -> None:
        self._resolver = resolver

    async def look_up(self, config: ClientConfig) -> Ranks:
        """Return the servers. Raises OSError."""
        return ranks_of(await self._resolver.renewed(config.remote_addr.host))


def make_listing(config: ClientConfig, names: NameResolvers) -> Listing:
    """Return the servers for which the address of a configuration stands."""
    return _Service(names.services) if isinstance(config.remote_addr, ServiceAddress) else _Hosts(names.hosts)
