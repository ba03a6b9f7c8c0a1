"""A warning for targets that are Unix sockets, which a v0.7.2 client cannot dial."""

import asyncio
import logging
from collections.abc import Callable

from backhaul.config import PortMapping
from backhaul.config.messages import few

log = logging.getLogger("backhaul.server")


class UnixTargets:
    """Checks every few seconds whether the client is v0.7.2, and warns once for each client.

    Without such targets there are no checks.
    """

    def __init__(self, every: float, is_v072: Callable[[], bool]) -> None:
        self._every = every
        self._is_v072 = is_v072
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, mappings: tuple[PortMapping, ...]) -> None:
        """Start the checks, because a client has connected or ports have changed."""
        self.end()
        concerned = [mapping for mapping in mappings if mapping.leads_to_path]
        if concerned:
            self._look_later(concerned)

    def end(self) -> None:
        """Stop the checks."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _look_later(self, concerned: list[PortMapping]) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every, self._look, concerned)

    def _look(self, concerned: list[PortMapping]) -> None:
        self._timer = None
        if self._is_v072():
            _warn(concerned)
        else:
            self._look_later(concerned)


def _warn(concerned: list[PortMapping]) -> None:
    log.warning(
        "port %s: the client is v0.7.2, which cannot reach Unix sockets, and closes these users; run this program on "
        "the client's machine, or name a TCP target",
        few([f"{mapping.bind} ({mapping.target})" for mapping in concerned]),
    )
