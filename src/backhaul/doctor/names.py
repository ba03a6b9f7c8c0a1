"""The check of the server's name."""

import asyncio
import socket
import time
from typing import Any, Final, NamedTuple

from backhaul.addresses import address_text
from backhaul.errors import reason
from backhaul.net.connector import numeric_address, with_port
from backhaul.net.resolver import Answer, LookUp, Resolver
from backhaul.wire.targets import parse_ip

from .finding import Finding, fault, ok
from .wording import count, milliseconds

SUBJECT: Final = "name"
_FAMILIES: Final[dict[int, str]] = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
_MANY: Final = 4  # addresses shown
_NO_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class Place(NamedTuple):
    """One address of the server."""

    family: int
    address: tuple[Any, ...]

    def __str__(self) -> str:
        return address_text(*self.address[:2])


async def find(host: str, port: int, key: str, names: LookUp, wait: float) -> tuple[list[Place], Finding]:
    """Return all addresses of a host, and the finding; ``key`` is where the configuration names it."""
    if parse_ip(host):
        return _numeric(host, port, key)
    begun = time.perf_counter()
    try:
        answer = await _ask(host, names, wait)
    except TimeoutError:
        return [], fault(SUBJECT, f"{host}: the name server does not answer within {wait:g} s", _server_remedy(host))
    seconds = time.perf_counter() - begun
    if isinstance(answer, OSError):
        return [], _failure(host, key, answer)
    places = [Place(family, with_port(address, port)) for family, address in answer]
    return places, ok(SUBJECT, f"{host}: {_listed(places)} in {milliseconds(seconds)}")


def _numeric(host: str, port: int, key: str) -> tuple[list[Place], Finding]:
    try:
        place = Place(*numeric_address(host, port))
    except OSError as error:
        return [], fault(SUBJECT, f"{host}: {reason(error)}", f"correct the interface in {key}, or bring it up")
    return [place], ok(SUBJECT, f"{host} is an address, no name to look up")


async def _ask(host: str, names: LookUp, wait: float) -> Answer:
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    resolver = Resolver(lookup=names)
    try:
        resolver.resolve(host, answer.set_result)
        async with asyncio.timeout(wait):
            return await answer
    finally:
        resolver.close()


def _listed(places: list[Place]) -> str:
    shown = [f"{place.address[0]} ({_FAMILIES.get(place.family, 'other')})" for place in places[:_MANY]]
    more = [f"and {len(places) - _MANY} more"] if len(places) > _MANY else []
    return f"{count(len(places), 'address', 'addresses')}: {', '.join(shown + more)}"


def _failure(host: str, key: str, error: OSError) -> Finding:
    if error.errno in _NO_NAME:
        return fault(SUBJECT, f"{host}: no such name, or it has no address", f"correct {key}, or the name's DNS record")
    return fault(SUBJECT, f"{host}: can't be looked up: {reason(error)}", _server_remedy(host))


def _server_remedy(host: str) -> str:
    return f"check the name servers in /etc/resolv.conf (`getent ahosts {host}` asks them), and this machine's network"
