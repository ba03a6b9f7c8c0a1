"""Connections whose users outlive their control channel, on either end."""

from typing import TYPE_CHECKING
from weakref import WeakSet

from backhaul.net.haste import Haste

if TYPE_CHECKING:
    import socket

    from backhaul.relay.resources import Timekeeper


class Survivors:
    """Connections with users that do not depend on the present control channel, if there is one.

    When a control channel is lost, the lines of its users may have died, too. The next one shows that there is a path.
    Users on dead lines are reset soon after it, and can come again; those on living ones notice nothing.
    """

    def __init__(self, timekeeper: "Timekeeper") -> None:
        self._timekeeper = timekeeper
        self._haste = Haste(timekeeper.loop)
        self._members: WeakSet[socket.socket] = WeakSet()  # nobody says when they are closed

    def add(self, sock: "socket.socket") -> None:
        """Count a connection, which stays the caller's."""
        self._members.add(sock)

    def connected(self) -> None:
        """Give up the dead ones, before anything is added for the control channel that has just begun."""
        for sock in self._members:
            self._haste.add(sock, self._timekeeper.patience.dead)
