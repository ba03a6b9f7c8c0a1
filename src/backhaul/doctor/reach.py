"""The check whether TCP reaches the server, at each of its addresses."""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from backhaul.errors import reason
from backhaul.net.sockets import SocketOptions
from backhaul.net.tcp_info import TcpInfo

from .finding import Finding, Verdict, ok
from .names import Place
from .wording import milliseconds

SUBJECT: Final = "tcp"
PLAIN: Final = SocketOptions()
_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})


class Arrival(NamedTuple):
    """The result of an attempt to connect."""

    place: Place
    seconds: float
    error: OSError | None
    tcp: TcpInfo = TcpInfo()


@asynccontextmanager
async def connected(place: Place, wait: float, options: SocketOptions) -> AsyncIterator[socket.socket]:
    """Yield a connection. Raises OSError."""
    with socket.socket(place.family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        options.apply(sock)
        async with asyncio.timeout(wait):
            await asyncio.get_running_loop().sock_connect(sock, place.address)
        yield sock


async def arrive(places: Sequence[Place], wait: float, options: SocketOptions = PLAIN) -> list[Arrival]:
    """Connect to all addresses at a time."""
    return await asyncio.gather(*(_arrive(place, wait, options) for place in places))


async def _arrive(place: Place, wait: float, options: SocketOptions) -> Arrival:
    begun = time.perf_counter()
    try:
        async with connected(place, wait, options) as sock:
            return Arrival(place, time.perf_counter() - begun, None, TcpInfo.of(sock))
    except OSError as error:  # TimeoutError is one
        return Arrival(place, time.perf_counter() - begun, error)


def findings(arrivals: Sequence[Arrival]) -> list[Finding]:
    """Return a finding for each address; an unreachable one is a fault if no other can be reached."""
    bad = Verdict.FAULT if all(arrival.error for arrival in arrivals) else Verdict.WARNING
    return [_finding(arrival, bad) for arrival in arrivals]


def best(arrivals: Sequence[Arrival]) -> Arrival:
    """Return the fastest attempt that succeeded, or any if all failed."""
    return min(arrivals, key=lambda arrival: (arrival.error is not None, arrival.seconds))


def obstacle(arrival: Arrival) -> str:
    """Return why an attempt failed."""
    return _explained(arrival.error, 0)[0] if arrival.error else ""


def _finding(arrival: Arrival, bad: Verdict) -> Finding:
    place, error = arrival.place, arrival.error
    if not error:
        return ok(SUBJECT, f"{place}: connected in {milliseconds(arrival.seconds)}")
    if error.errno in _NO_ROUTE and bad is Verdict.WARNING:
        return Finding(SUBJECT, Verdict.SKIPPED, f"{place}: no route from this machine; another address works")
    text, remedy = _explained(error, place.address[1])
    return Finding(SUBJECT, bad, f"{place}: {text}", remedy)


def _explained(error: OSError, port: int) -> tuple[str, str]:
    if error.errno == errno.ECONNREFUSED:
        return "refused: nothing listens on this port", "start the server, or correct the address and its port"
    if error.errno in _NO_ROUTE:
        return f"no route: {reason(error)}", "check this machine's network, or correct the address"
    if (error.strerror or "").partition("; ")[2]:  # of a key that chooses the way
        text, _, remedy = str(error.strerror).partition("; ")
        return text, remedy
    if error.errno in _FORBIDDEN:
        return f"forbidden: {reason(error)}", f"let this machine's firewall pass TCP to port {port}"
    if isinstance(error, TimeoutError):
        remedy = f"open TCP port {port} in the firewalls of the server and of its provider, or correct the address"
        return "no answer", remedy
    return reason(error), "check the network between both ends"
