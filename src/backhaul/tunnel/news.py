"""The events of an end, for the administrator's own program."""

import time
from collections.abc import Callable
from typing import Final

from backhaul.reports import Notice

_REPEAT: Final = 60.0  # seconds for which a limit is not reported again


def _nobody(_: Notice) -> None:
    """Ignore the news."""


class News:
    """Passes events to ``listener``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.listener: Callable[[Notice], None] = _nobody
        self._clock = clock
        self._reported: dict[tuple[str, str], float] = {}  # limits, as many as are configured at most

    def connected(self, peer: str, client: str = "", server: str = "") -> None:
        """Report that the other end is connected; the server knows the name of the client, and a client its own."""
        self.listener(Notice("connected", peer=peer, client=client, server=server))

    def lost(self, reason: str, client: str = "", server: str = "") -> None:
        """Report that the control channel is lost; the server knows the name of the client, and a client its own."""
        self.listener(Notice("lost", reason=reason, client=client, server=server))

    def port_down(self, port: str, reason: str) -> None:
        """Report a port that can't be opened."""
        self.listener(Notice("port_down", port=port, reason=reason))

    def port_up(self, port: str) -> None:
        """Report a port that is open again."""
        self.listener(Notice("port_up", port=port))

    def limit_hit(self, limit: str, *, port: str, user: str) -> None:
        """Report a user for whom a limit was reached, once a minute for each limit and port."""
        now, key = self._clock(), (limit, port)
        if key in self._reported and now - self._reported[key] < _REPEAT:
            return
        self._reported[key] = now
        self.listener(Notice("limit", port=port, user=user, limit=limit))

    def quota_used(self, limit: str, *, port: str, user: str, client: str) -> None:
        """Report that the bytes of a day or month are used up; a name is empty if the limit is not of a single one."""
        self.listener(Notice("limit", port=port, user=user, limit=limit, client=client))
