"""Networks that have proved themselves to a gate, and networks that fail at it again and again."""

import functools
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from .base import GateLimits

_MAX_NETWORKS: Final = 4096  # remembered of each kind; one more displaces the one that has not been seen for longest
_FIRST_BACKOFF: Final = 1.0  # seconds, doubled with each further failure
_PREFIX_V6: Final = 64  # bits: what one subscriber has at least (RFC 6177), so their number of addresses is no cost


@functools.lru_cache(maxsize=1024)
def network_of(ip: str) -> str:
    """Return what limits per address count: an IPv4 address, also a mapped one, or the /64 of an IPv6 address."""
    if ":" not in ip:
        return ip
    address = ipaddress.IPv6Address(ip.partition("%")[0])
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _PREFIX_V6), strict=False))


def barred_line(network: str, seconds: float) -> str:
    """Return what the log says about a network that is barred for `seconds`."""
    return f"{network}: too many failed attempts; nothing that it sends is looked at for {seconds:g} s"


class _Failures:
    """Failed proofs of a network, and the back-off that they have earned."""

    __slots__ = ("backoff", "barred_until", "count", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.count = 0
        self.backoff = _FIRST_BACKOFF
        self.barred_until = now


class Reputation:
    """Knows networks by their proofs.

    A network that has proved itself is never barred: a neighbour behind the same NAT or proxy can't lock the client
    out. Another one is barred for a while after `failures` failed proofs within `failure_window` seconds.
    """

    def __init__(
        self, limits: GateLimits, clock: Callable[[], float] = time.monotonic, *, max_networks: int = _MAX_NETWORKS
    ) -> None:
        self._limits = limits
        self._max_networks = max_networks
        self._clock = clock
        self._proved: OrderedDict[str, None] = OrderedDict()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def trusts(self, network: str) -> bool:
        """Return whether somebody in this network has shown the token."""
        return network in self._proved

    def barred(self, network: str) -> bool:
        """Return whether nothing that comes from this network is to be looked at now."""
        failures = self._failures.get(network)
        return failures is not None and self._clock() < failures.barred_until

    def proved(self, network: str) -> None:
        """Trust the network from now on."""
        self._failures.pop(network, None)
        self._proved[network] = None
        self._proved.move_to_end(network)
        if len(self._proved) > self._max_networks:
            self._proved.popitem(last=False)

    def failed(self, network: str) -> float:
        """Count a failed proof; return for how many seconds the network is barred."""
        if self.trusts(network):
            return 0.0
        now = self._clock()
        failures = self._recall(network, now)
        failures.count += 1
        if failures.count < self._limits.failures:
            return 0.0
        seconds = failures.backoff
        failures.barred_until = failures.since = now + seconds  # the window begins anew with its end
        failures.backoff = min(2 * seconds, self._limits.longest_backoff)
        return seconds

    def _recall(self, network: str, now: float) -> _Failures:
        failures = self._failures.get(network)
        if failures is None or now - failures.since > self._limits.failure_window:
            failures = self._failures[network] = _Failures(now)
        self._failures.move_to_end(network)
        if len(self._failures) > self._max_networks:
            self._failures.popitem(last=False)
        return failures
