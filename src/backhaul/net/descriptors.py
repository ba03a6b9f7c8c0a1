"""The division of the limit of open files among users, clients and everything else."""

import math
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

_RESERVED: Final = 8  # the reserve is an eighth of all descriptors
_ENOUGH: Final = 64  # and no larger than this
_ONE_USER: Final = 3  # descriptors beside idle connections: control channel, tunnel connection, and user or target
_PASSING: Final = 4  # descriptors of the log, of files that are read and of names that are looked up
_ASK_EVERY: Final = 1.0  # seconds between two reads of the limit, each of which takes 3 us


def descriptor_limit() -> int:
    """Return the number of descriptors that this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class Descriptors:
    """The numbers of descriptors that each kind of connection may have.

    The kernel always gives out the lowest free number (open(2)), so a number shows how many are in use. Users leave the
    reserve to clients, and clients leave its last quarter to administrators, files and name servers.
    """

    def __init__(
        self, limit: Callable[[], int] = descriptor_limit, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``limit`` returns the number of descriptors, which an administrator may change (prlimit(1))."""
        self._limit = limit
        self._clock = clock
        self._ask_at = -math.inf
        self._total = self._reserve = 0
        self.promised = 0
        """The number of users who wait for a tunnel connection, each of which will take a descriptor."""

    def users_end(self) -> int:
        """Return the first number that no new user gets, so that waiting users find room for their connections."""
        return self._reserve_from(1) - self.promised

    def pending_end(self) -> int:
        """Return the number from which a connection that has proved nothing takes the place of another one."""
        return self._reserve_from(2)

    def clients_end(self) -> int:
        """Return the first number that no connection of a client gets."""
        return self._reserve_from(4)

    def keeps(self, sock: socket.socket) -> bool:
        """Return whether to keep a new tunnel connection: it is not in the reserve, or a user waits for it."""
        return self.promised > 0 or sock.fileno() < self._reserve_from(1)

    def _reserve_from(self, part: int) -> int:
        """Return the number where the last ``part`` of the reserve begins."""
        if self._clock() >= self._ask_at:
            self._ask()
        return self._total - self._reserve // part

    def _ask(self) -> None:
        self._ask_at = self._clock() + _ASK_EVERY
        self._total = self._limit()
        self._reserve = _reserve(self._total)


def _reserve(total: int) -> int:
    return min(total // _RESERVED, _ENOUGH)


def shortage(least: int) -> str:
    """Return a line about a limit that is lower than ``least``; empty if it is not."""
    limit = descriptor_limit()
    remedy = "raise it (LimitNOFILE in the unit, or `ulimit -n`)"
    return (
        f"limit of open files: {limit}, at least {least} are needed to serve users; {remedy}" if limit < least else ""
    )


def least_limit(idle: int) -> int:
    """Return the lowest limit for an end that has started in this process to serve a user beside ``idle`` connections.

    Those are dialled before any user comes.
    """
    limit = needed = _first_free() + _PASSING + idle + _ONE_USER
    while limit - _reserve(limit) < needed:
        limit += 1
    return limit


def _first_free() -> int:
    try:
        first = open_any()
    except OSError:  # there is none
        return descriptor_limit()
    os.close(first)
    return first


def open_any() -> int:
    """Return a new descriptor that leads nowhere, with the lowest free number; raise OSError.

    It is no file: a container made for one program may even lack /dev/null.
    """
    return socket.socket(socket.AF_UNIX).detach()


def boundless() -> int:
    """Return a number that the kernel never reaches."""
    return sys.maxsize


def for_users() -> int:
    """Return the number of descriptors that users and their tunnel connections may have."""
    return Descriptors().users_end()
