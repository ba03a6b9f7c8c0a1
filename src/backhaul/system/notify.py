"""Notifications to the service manager: sd_notify(3), without its library.

Without a service manager (no ``NOTIFY_SOCKET``) every function here does nothing. None raises: a service manager that
cannot be reached must not stop the tunnel.
"""

import array
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

# Seconds. A healthy service manager reads its queue at once; an unhealthy one must not block the event loop.
_SEND_TIMEOUT: Final = 1.0

_FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START

_logger: Final = logging.getLogger(__name__)


class Manager(Protocol):
    """The service manager, as the program or as one of several ends sees it."""

    def ready(self) -> None:
        """Report that start-up, or a reload, is complete."""

    def reloading(self) -> None:
        """Report that a reload begins."""

    def stopping(self) -> None:
        """Report that the program is stopping."""

    def status(self, text: str) -> None:
        """Show ``text`` as the one-line status of the service."""

    def watchdog(self) -> None:
        """Report that the program is alive."""

    def watchdog_interval(self) -> float | None:
        """Return the seconds between calls of ``watchdog``, or None without a watchdog."""

    def inherited(self) -> list[tuple[str, socket.socket]]:
        """Return the sockets passed by the service manager and their names, once."""


def ready() -> None:
    """Report that start-up, or a reload, is complete."""
    _send("READY=1")


def reloading() -> None:
    """Report that a reload begins; ``ready`` must follow. Type=notify-reload requires the time stamp."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    _send("RELOADING=1", f"MONOTONIC_USEC={now}")


def stopping() -> None:
    """Report that the program is stopping."""
    _send("STOPPING=1")


def status(text: str) -> None:
    """Show ``text`` as the one-line status of the service."""
    _send(f"STATUS={' '.join(text.split())}")  # a line break would start another assignment


def watchdog() -> None:
    """Report that the program is alive; due at least every ``watchdog_interval`` seconds."""
    _send("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Return the seconds between calls of ``watchdog``, a third of the interval that the manager allows.

    The rest is for calls that are late, such as during a reload. Returns None if the manager has no watchdog for this
    process.
    """
    allowed = os.environ.get("WATCHDOG_USEC", "")
    intended_for = os.environ.get("WATCHDOG_PID", "")
    if not allowed.isdecimal() or intended_for not in ("", str(os.getpid())):
        return None
    return int(allowed) / 3e6 or None


class Watchdog:
    """The manager's watchdog, which is called no more often than it needs: every call wakes the manager."""

    def __init__(self, manager: Manager, clock: Callable[[], float] = time.monotonic) -> None:
        self._manager = manager
        self._clock = clock
        self._due = 0.0

    def feed(self) -> None:
        """Report that the program is alive, if that is due."""
        interval, now = self._manager.watchdog_interval(), self._clock()
        if interval and now >= self._due:
            self._manager.watchdog()
            self._due = now + interval


class Store:
    """The service manager's store of file descriptors, which outlive this process: sd_notify(3), FDSTORE=1."""

    def keep(self, name: str, sock: socket.socket) -> bool:
        """Store a copy of the socket; return whether there is a store.

        Without FDPOLL=0 the manager drops sockets that report a hang-up, such as those that refuse their users.
        """
        size = os.environ.get("FDSTORE", "")  # set by systemd from 254 on, and by this program's unit for older ones
        if not size.strip("0") or not os.environ.get("NOTIFY_SOCKET"):
            return False
        _send("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", descriptors=[sock.fileno()])
        return True

    def drop(self, name: str) -> None:
        """Close the stored copy of this name, if there is one."""
        _send("FDSTOREREMOVE=1", f"FDNAME={name}")


def inherited() -> list[tuple[str, socket.socket]]:
    """Return the sockets passed by the service manager and their names, once: sd_listen_fds(3).

    They come from its store, under names given by this program, and from units of type socket.
    """
    count, intended_for = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if not count.isdecimal() or intended_for != str(os.getpid()):
        return []
    found = []
    names += [""] * int(count)  # an old manager sends no names
    for name, descriptor in zip(names, range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)), strict=False):
        try:
            os.set_inheritable(descriptor, False)
            sock = socket.socket(fileno=descriptor)
        except OSError:  # no socket, or none that a wrapper of this program has left open
            with contextlib.suppress(OSError):
                os.close(descriptor)
        else:
            found.append((name, sock))
    return found


def _rights(descriptors: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """Return the ancillary data that passes descriptors to another process, unix(7)."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())] if descriptors else []


def _send(*assignments: str, descriptors: Sequence[int] = ()) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(_SEND_TIMEOUT)
            message = "\n".join(assignments).encode(errors="replace")
            manager.sendmsg([message], _rights(descriptors), 0, address)
    except (OSError, ValueError) as error:  # ValueError: the address is invalid
        _logger.debug("service manager: not notified: %s", error)
