"""Rules that involve several clients of a server: what one has, no other may have."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from .clients import ServedClient, forbidden_targets
from .messages import few
from .ports import overlap
from .schema import ServerConfig


def problems(config: ServerConfig) -> Iterator[str]:
    """Yield ``key: mistake; remedy`` for each mistake that one client alone does not show."""
    if not config.clients.named:
        return
    yield from _ports((config.unnamed, *config.clients.named))
    for client in config.clients.named:
        if targets := forbidden_targets(client):
            yield f"{client.table}ports: not in allow_targets of this client: {few(targets)}; add them there"


def token_problems(config: ServerConfig) -> Iterator[str]:
    """Yield the same for the tokens in effect."""
    if config.clients.named and config.ports and not config.accepted:
        yield "ports: no client serves them, as [server] has no token; set token, or move them to a table of clients"
    if config.facts.datagrams and len(config.served) > 1:
        yield "clients: transport udp serves one client; use another transport, or keep one client"
    owners: dict[object, ServedClient] = {}
    for client in config.served:
        for token in client.accepted:
            if token in owners and owners[token] is not client:
                other = owners[token]
                yield f"{client.table}token: {_where(other)} has the same; give each client its own (`backhaul token`)"
            owners.setdefault(token, client)


def _where(client: ServedClient) -> str:
    return client.table.removesuffix(".") or "[server]"


def _ports(clients: Iterable[ServedClient]) -> Iterator[str]:
    """Yield one line for each pair of clients with the same port, naming the first such port."""
    taken: defaultdict[int, list[tuple[ServedClient, str]]] = defaultdict(list)
    told: set[tuple[str, str]] = set()
    for client in clients:
        for mapping in client.ports:
            for other, host in taken[mapping.bind_port]:
                pair = client.name, other.name
                if other is not client and pair not in told and overlap(host, mapping.bind_host):
                    told.add(pair)
                    spot = mapping.address.spot
                    yield f"{client.table}ports: {spot} is in {other.table}ports, too; remove it from one of them"
            taken[mapping.bind_port].append((client, mapping.bind_host))
