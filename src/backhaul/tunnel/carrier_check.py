"""The check whether users can be carried, which a control channel does not prove: transports may differ."""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Final

from backhaul.net.log_throttle import LogThrottle

from .timings import DEFAULT_TIMINGS, Timings

_NONE_PASSES: Final = (
    "no tunnel connection has arrived; let them pass the firewalls and proxies as well as the control channel (on "
    "transport udp, UDP to the same port)"
)
_NONE_REACHES: Final = (
    "no tunnel connection reaches the server; let them pass the firewalls and proxies as well as the control channel "
    "(on transport udp, UDP to the same port)"
)
_CEASED: Final = "no datagram of the tunnels arrives any more; let UDP to the port of bind_addr pass the firewalls"
_NONE_FITS: Final = "no tunnel connection of this transport has arrived; set the same transport on both ends"


class CarrierCheck:
    """The knowledge about the peer's tunnel connections, and their problem, if any.

    A keep-alive in a session, an admission, a target or a target's answer proves them. Others are only seen, and later
    bytes may show that they are unsuitable. Once they are proved, no unauthenticated connection changes that before
    the next control channel.
    """

    def __init__(
        self,
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
        timings: Timings = DEFAULT_TIMINGS,
        whose: str = "",
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait for the first connection as ``timings`` say; ``whose`` names the client in the log, as in " of NAME".

        ``changed`` is called when ``problem`` has changed.
        """
        self._changed = changed
        self._whose = whose
        self._loop = asyncio.get_running_loop()
        self._log = logger
        self._throttle = LogThrottle(logger)
        self._timings = timings
        self._overdue: asyncio.TimerHandle | None = None
        self._begun = math.inf  # by the loop's clock
        self._agreed = self._proved = False
        self._up = False
        self._up_in_log = False  # the last line of this control channel says so
        self.problem = ""
        """The reason why no user can be carried; empty if there is none."""

    def begin(self) -> None:
        """Start the check for a new control channel."""
        self.end()
        self._begun = self._loop.time()
        self._agreed = self._proved = self._up = self._up_in_log = False
        self.problem = ""
        self._wait(self._timings.first_carrier)

    def end(self) -> None:
        """Stop the check of a lost control channel."""
        if self._overdue:
            self._overdue.cancel()
            self._overdue = None

    def agreed(self) -> None:
        """Note that a protected handshake has compared the transports: later bytes that differ are of another peer."""
        self._agreed = True
        if self._overdue:
            self.end()
            self._wait(self._timings.first_proof)

    def seen(self) -> None:
        """Note that a tunnel connection is open, which after a protected handshake has proved itself."""
        if self._agreed:
            self.proved()
        elif not self._up and not self.problem:
            self._is_up()

    def proved(self) -> None:
        """Note that a tunnel connection has proved to be suitable."""
        if not self._proved:
            self._proved = True
            self.problem = ""
            self._is_up()

    def answered(self, since: float) -> None:
        """Note an answer to a user accepted at ``since``; a user from before the control channel proves nothing."""
        if not self._proved and since >= self._begun:
            self.proved()

    def mismatched(self, what: str) -> None:
        """Note that the tunnel connections are unsuitable; ``what`` is a sentence with the remedy."""
        if not self._agreed and not self._proved:
            self._report(what)

    def ceased(self) -> None:
        """Note that nothing arrives on the tunnel connections any more, although the control channel works."""
        self._proved = False
        self._report(_CEASED)

    def unreached(self) -> None:
        """Note that none of the tunnel connections has reached the server, which says so."""
        self._proved = False
        self._report(_NONE_REACHES)

    def _wait(self, seconds: float) -> None:
        self._overdue = self._loop.call_later(seconds, self._give_up)

    def _is_up(self) -> None:
        self.end()
        if not self._up:
            self._up = True
            self._log_up()
            self._changed()

    def _log_up(self) -> None:
        """Log that users can be carried, unless the log says so: a hostile server may change its mind without end."""
        if not self._up_in_log:
            self._up_in_log = True
            self._log.info("tunnel%s is up", self._whose)

    def _give_up(self) -> None:
        self._report(_NONE_PASSES if self._agreed else _NONE_FITS)

    def _report(self, problem: str) -> None:
        self.end()
        self._up = False
        self.problem = problem
        if self._throttle.error(problem, f"no user{self._whose} can be carried: {problem}"):
            self._up_in_log = False
        self._changed()
