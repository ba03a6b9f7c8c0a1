"""Complaints of a gate about connections that it refuses."""

import logging

from backhaul.net.log_throttle import LogThrottle

from .lobby import PendingConnection
from .reputation import Reputation, barred_line

log = logging.getLogger("backhaul.server")


class Complaints:
    """Logs why connections are refused, and bars networks whose connections fail again and again.

    Those of a barred network are neither logged nor counted, and neither are those of a client that a reload has made
    different for a moment.
    """

    def __init__(self, reputation: Reputation) -> None:
        self._reputation = reputation
        self._throttle = LogThrottle(log)

    def judged(self, pending: PendingConnection, fault: str) -> None:
        """Log and count a connection, unless its ``fault`` is empty."""
        if fault:
            self.refused(pending, fault)

    def refused(self, pending: PendingConnection, what: str) -> None:
        """Log and count a connection that has proved nothing."""
        if self._reputation.excused(pending.network):
            log.debug("connection from %s: refused: %s", pending.ip, what)
            return
        self.misused(pending, what)
        if self._reputation.barred(pending.network):
            return
        if seconds := self._reputation.failed(pending.network):
            self._throttle.warn(pending.network, barred_line(pending.network, seconds))

    def misused(self, pending: PendingConnection, what: str) -> None:
        """Log a connection that has the token, and that something in between has spoiled."""
        if not self._reputation.barred(pending.network):
            self._throttle.warn((pending.ip, what), f"refused a connection from {pending.ip}: {what}")
