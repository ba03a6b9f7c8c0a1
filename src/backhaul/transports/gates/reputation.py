"""Networks that have proved themselves to a gate, and networks that fail again and again."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from backhaul.failures import Failures
from backhaul.transports.settings import GateLimits

_MAX_NETWORKS: Final = 4096  # remembered of each kind; a further one displaces the one seen least recently
_FIRST_BACKOFF: Final = 1.0  # seconds, doubled with each further failure


def barred_line(network: str, seconds: float) -> str:
    """Return the log line about a network that is barred for ``seconds``."""
    return f"{network}: too many failed attempts; further ones are not logged for {seconds:g} s"


@dataclass(slots=True)
class Misfit:
    """The failures of a network that has proved itself."""

    since: float = -math.inf
    last: float = -math.inf


class Reputation:
    """The memory of the networks that have proved themselves or failed.

    A network that has proved itself is never barred. Its failures are excused for ``changeover`` seconds from the first
    one: one end has been reloaded, and the other one may follow. Another network is barred for a while after
    ``failures`` failed proofs within ``failure_window`` seconds: its failures are then neither counted nor logged. The
    right token still opens the gate to it, so a neighbour behind the same NAT or proxy can't lock the client out.
    """

    def __init__(
        self, limits: GateLimits, clock: Callable[[], float] = time.monotonic, *, max_networks: int = _MAX_NETWORKS
    ) -> None:
        self._max_networks = max_networks
        self._clock = clock
        self._changeover = limits.changeover
        self._window = limits.failure_window
        self.networks: OrderedDict[str, Misfit] = OrderedDict()
        """Those that have proved themselves, the latest last."""
        self.failures = Failures(
            limits.failures - 1,
            limits.failure_window,
            _FIRST_BACKOFF,
            limits.longest_backoff,
            clock,
            most=max_networks,
        )
        """Those of networks that have proved nothing."""

    def trusts(self, network: str) -> bool:
        """Return whether a connection from this network has shown the token."""
        return network in self.networks

    def barred(self, network: str) -> bool:
        """Return whether failures of this network are ignored at present."""
        return not self.trusts(network) and self.failures.pause(network) > 0

    def proved(self, network: str) -> None:
        """Trust the network from now on."""
        self.networks.setdefault(network, Misfit())
        self.networks.move_to_end(network)
        if len(self.networks) > self._max_networks:
            self.networks.popitem(last=False)

    def excused(self, network: str) -> bool:
        """Note that a connection from this network does not fit; return whether that may be due to a reload."""
        misfit = self.networks.get(network)
        if not misfit:
            return False
        now = self._clock()
        if now - misfit.last > self._window:
            misfit.since = now
        misfit.last = now
        return now - misfit.since < self._changeover

    def succeed(self, before: "Reputation") -> None:
        """Remember what another gate knew."""
        self.networks, self.failures = before.networks, before.failures

    def failed(self, network: str) -> float:
        """Count a failed proof; return for how many seconds the network is barred."""
        return 0.0 if self.trusts(network) else self.failures.failed(network)
