"""Networks that have proved themselves to a gate, and networks that fail again and again."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from backhaul.failures import Failures
from backhaul.transports.settings import GateLimits

_MAX_NETWORKS: Final = 4096  # remembered of each kind; a further one displaces the one seen least recently
_FIRST_BACKOFF: Final = 1.0  # seconds, doubled with each further failure


def barred_line(network: str, seconds: float) -> str:
    """Return the log line about a network that is barred for ``seconds``."""
    return f"{network}: too many failed attempts; further ones are not logged for {seconds:g} s"


class Reputation:
    """The memory of the networks that have proved themselves or failed.

    A network that has proved itself is never barred. Another one is barred for a while after ``failures`` failed proofs
    within ``failure_window`` seconds: its failures are then neither counted nor logged. The right token still opens the
    gate to it, so a neighbour behind the same NAT or proxy can't lock the client out.
    """

    def __init__(
        self, limits: GateLimits, clock: Callable[[], float] = time.monotonic, *, max_networks: int = _MAX_NETWORKS
    ) -> None:
        self._max_networks = max_networks
        self._proved: OrderedDict[str, None] = OrderedDict()
        self._failures = Failures(
            limits.failures - 1,
            limits.failure_window,
            _FIRST_BACKOFF,
            limits.longest_backoff,
            clock,
            most=max_networks,
        )

    def trusts(self, network: str) -> bool:
        """Return whether a connection from this network has shown the token."""
        return network in self._proved

    def barred(self, network: str) -> bool:
        """Return whether failures of this network are ignored at present."""
        return not self.trusts(network) and self._failures.pause(network) > 0

    def proved(self, network: str) -> None:
        """Trust the network from now on."""
        self._proved[network] = None
        self._proved.move_to_end(network)
        if len(self._proved) > self._max_networks:
            self._proved.popitem(last=False)

    def failed(self, network: str) -> float:
        """Count a failed proof; return for how many seconds the network is barred."""
        return 0.0 if self.trusts(network) else self._failures.failed(network)
