"""The shares of users, clients and all others in the limit of open files."""

import resource
import socket
import sys
from collections.abc import Callable
from typing import Final

_RESERVED: Final = 8  # the reserve is this part of all descriptors, but no more than is enough
_ENOUGH: Final = 64


def limit() -> int:
    """Return the number of descriptors that this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class Descriptors:
    """The numbers of descriptors that each kind of connection may have.

    The kernel always gives out the lowest free number (open(2)), so a number shows how many are in use. Users leave the
    reserve to clients, and clients leave its last quarter to administrators, files and name servers.
    """

    def __init__(self, limit: Callable[[], int] = limit) -> None:
        """``limit`` returns the number of descriptors, which an administrator may change (prlimit(1))."""
        self._limit = limit
        self.promised = 0
        """The number of users who wait for a tunnel connection, which takes a descriptor when it comes."""

    def users_end(self) -> int:
        """Return the first number that no new user gets, so that there is room for what others wait for."""
        return self._reserve_from(1) - self.promised

    def pending_end(self) -> int:
        """Return the number from which a connection that has proved nothing takes the place of another one."""
        return self._reserve_from(2)

    def clients_end(self) -> int:
        """Return the first number that no connection of a client gets."""
        return self._reserve_from(4)

    def keeps(self, sock: socket.socket) -> bool:
        """Return whether to keep a tunnel connection, which a user waits for if it is one of the reserve."""
        return self.promised > 0 or sock.fileno() < self._reserve_from(1)

    def _reserve_from(self, part: int) -> int:
        """Return the number where the last ``part`` of the reserve begins."""
        total = self._limit()
        return total - min(total // _RESERVED, _ENOUGH) // part


def for_users() -> int:
    """Return the number of descriptors that users and their tunnel connections may have."""
    return Descriptors().users_end()
