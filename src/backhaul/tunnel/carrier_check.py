"""Whether a user could be carried. A control channel does not tell: both ends may run different transports."""

import asyncio
import logging
import math
from typing import Final

from backhaul.net.log_throttle import LogThrottle

GRACE: Final = 45.0
"""Seconds for the first tunnel connection that fits. A session of v0.7.2 is silent until its first sign of life, 20 s
after it has begun."""


class CarrierCheck:
    """What is known of the other end's tunnel connections, and what is wrong with them.

    A sign of life in a session, a ticket, a named target or a target's answer proves them. Of others it is only seen
    that they are there, and what comes later may speak against them. Once proved, nothing that a stranger sends changes
    that before the next control channel.
    """

    def __init__(self, logger: logging.Logger, grace: float = GRACE) -> None:
        self._loop = asyncio.get_running_loop()
        self._log = logger
        self._throttle = LogThrottle(logger)
        self._grace = grace
        self._overdue: asyncio.TimerHandle | None = None
        self._begun = math.inf  # by the loop's clock
        self._proved = False
        self._up = False  # and the log says so
        self.problem = ""
        """Why no user could be carried; empty: nothing speaks against it."""

    def begin(self) -> None:
        """A control channel has been opened."""
        self.end()
        self._begun = self._loop.time()
        self._proved = self._up = False
        self.problem = ""
        self._overdue = self._loop.call_later(self._grace, self._give_up)

    def end(self) -> None:
        """The control channel is gone."""
        if self._overdue:
            self._overdue.cancel()
            self._overdue = None

    def seen(self) -> None:
        """A tunnel connection is there."""
        if not self._up and not self.problem:
            self._is_up()

    def proved(self) -> None:
        """A tunnel connection has shown what it is."""
        if not self._proved:
            self._proved = True
            self.problem = ""
            self._is_up()

    def answered(self, since: float) -> None:
        """A user who has come at `since` got an answer; one from before the control channel proves nothing."""
        if not self._proved and since >= self._begun:
            self.proved()

    def mismatched(self, what: str) -> None:
        """The tunnel connections are something else; `what` is a sentence with the remedy."""
        if not self._proved:
            self.end()
            self._up = False
            self.problem = what
            self._throttle.error(what, f"no user can be carried: {what}")

    def _is_up(self) -> None:
        self.end()
        if not self._up:
            self._up = True
            self._log.info("tunnel is up")

    def _give_up(self) -> None:
        self._overdue = None
        self.mismatched("no tunnel connection of this transport has come; set the same transport on both ends")
