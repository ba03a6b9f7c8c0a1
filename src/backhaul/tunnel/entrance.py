"""The admission of new users to all ports of a tunnel: refused without a client, or while the tunnel is drained."""

import logging
from collections.abc import Callable

from .ports import Ports
from .udp_ports import FlowDispatcher

log = logging.getLogger("backhaul.server")


class Entrance:
    """Opens and closes all ports of a tunnel together; users in flight stay."""

    def __init__(
        self,
        ports: Ports,
        flows: FlowDispatcher,
        unwanted: Callable[[], bool],
        whose: str,
        changed: Callable[[], None],
    ) -> None:
        """``unwanted`` returns whether users are refused for lack of a client, which ``whose`` names in the log.

        ``changed`` is called when ``draining`` has changed.
        """
        self._changed = changed
        self._whose = whose
        self._ports = ports
        self._flows = flows
        self._unwanted = unwanted
        self.draining = False
        """True while the administrator refuses new users."""

    def drain(self) -> None:
        """Refuse new users until ``resume``."""
        if not self.draining:
            self.draining = True
            log.info("draining: new users%s are refused, present ones stay; `backhaul resume` ends that", self._whose)
        self.apply()
        self._changed()

    def resume(self) -> None:
        """Admit new users again, if there is a client."""
        if self.draining:
            self.draining = False
            log.info("no longer draining: new users%s are admitted", self._whose)
        self.apply()
        self._changed()

    def apply(self) -> None:
        """Refuse or admit new users, as the present state requires."""
        unwanted = self._unwanted()
        refuse = self.draining or unwanted
        if refuse == self._ports.refusing:
            return
        self._flows.offline = refuse
        if not refuse:
            self._ports.admit()
            return
        if not self.draining:
            log.info("users%s are refused until a client connects (offline)", self._whose)
        self._ports.refuse()
