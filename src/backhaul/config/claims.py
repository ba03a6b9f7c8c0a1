"""Rules that involve several clients of a server: no two may have the same token or port."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from .clients import ServedClient, forbidden_targets
from .messages import few, quoted
from .ports import PortMapping
from .schema import ServerConfig

_OF_THE_SERVER: Final = "default"
"""The label of the client without a name in metrics."""


def problems(config: ServerConfig) -> Iterator[str]:
    """Yield ``key: mistake; remedy`` for each mistake that one client alone does not show."""
    yield from _ports(config.owners)
    yield from _members(config)
    for client in config.clients.named:
        if targets := forbidden_targets(client, client.ports):
            yield f"{client.table}ports: not in allow_targets of this client: {few(targets)}; add them there"


def _members(config: ServerConfig) -> Iterator[str]:
    """Yield the mistakes about clients of groups."""
    known = {client.name: client for client in config.clients.named}
    for group in config.groups.named:
        if not group.clients:
            yield f"{group.table}clients: missing; add the names of clients with a table of their own"
        for name in dict.fromkeys(group.clients):
            if name not in known:
                yield f"{group.table}clients: no client {quoted(name)}; add [server.clients.{quoted(name)}]"
            elif targets := forbidden_targets(known[name], group.ports):
                yield f"{group.table}ports: not in {known[name].table}allow_targets: {few(targets)}; add them there"
        if len(set(group.clients)) < len(group.clients):
            yield f"{group.table}clients: a name is listed twice; remove one of them"


def token_problems(config: ServerConfig) -> Iterator[str]:
    """Yield the same for the tokens in effect."""
    if config.clients.named and config.ports and not config.accepted:
        yield "ports: no client serves them, as [server] has no token; set token, or move them to a table of clients"
    if config.accepted and any(client.name == _OF_THE_SERVER for client in config.clients.named):
        yield f"clients.{_OF_THE_SERVER}: metrics call the client of [server] so; choose another name"
    owners: dict[object, ServedClient] = {}
    for client in config.served:
        for token in client.accepted:
            if token in owners and owners[token] is not client:
                other = owners[token]
                yield f"{client.table}token: {_where(other)} has the same; give each client its own (`backhaul token`)"
            owners.setdefault(token, client)


def _where(client: ServedClient) -> str:
    return client.table.removesuffix(".") or "[server]"


class Owner(Protocol):
    """A client or a group."""

    @property
    def table(self) -> str:
        """The beginning of the names of its keys."""

    @property
    def ports(self) -> tuple[PortMapping, ...]:
        """Its ports."""


def _ports(clients: Iterable[Owner]) -> Iterator[str]:
    """Yield one line for each pair of owners of the same port, naming the first such port."""
    taken: defaultdict[int, list[tuple[Owner, PortMapping]]] = defaultdict(list)
    told: set[tuple[str, str]] = set()
    for client in clients:
        for mapping in client.ports:
            for other, earlier in taken[mapping.bind_port]:
                pair = client.table, other.table
                if other is not client and pair not in told and mapping.clashes(earlier):
                    told.add(pair)
                    spot = mapping.address.spot
                    yield f"{client.table}ports: {spot} is in {other.table}ports, too; remove it from one of them"
            taken[mapping.bind_port].append((client, mapping))
