"""Notifications to the service manager: sd_notify(3), without its library.

Outside a service manager (no ``NOTIFY_SOCKET``) every function here does nothing. None raises: a service
manager that cannot be told must not stop the tunnel.
"""

import logging
import os
import socket
import time
from typing import Final

# Seconds. A service manager drains its queue at once or is in trouble; the event loop must not share that.
_SEND_TIMEOUT: Final = 1.0

_logger: Final = logging.getLogger(__name__)


def ready(text: str = "") -> None:
    """Say that start-up, or a reload, is complete; ``text`` is a status line for people."""
    _send("READY=1", *_status(text))


def reloading() -> None:
    """Say that a reload begins; ``ready`` must follow. The time stamp is what Type=notify-reload asks for."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    _send("RELOADING=1", f"MONOTONIC_USEC={now}")


def stopping(text: str = "") -> None:
    """Say that the program is on its way out."""
    _send("STOPPING=1", *_status(text))


def status(text: str) -> None:
    """Show ``text`` as the one-line status of the service."""
    _send(*_status(text))


def watchdog() -> None:
    """Say that the program is alive; due at least every ``watchdog_interval`` seconds."""
    _send("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Return how many seconds to leave between calls of ``watchdog``: half of what the manager allows.

    None where the manager keeps no watchdog over this process.
    """
    allowed = os.environ.get("WATCHDOG_USEC", "")
    intended_for = os.environ.get("WATCHDOG_PID", "")
    if not allowed.isdecimal() or intended_for not in ("", str(os.getpid())):
        return None
    return int(allowed) / 2e6 or None


def _status(text: str) -> list[str]:
    # A line break would start an assignment of its own.
    return [f"STATUS={' '.join(text.split())}"] if text else []


def _send(*assignments: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(_SEND_TIMEOUT)
            manager.sendto("\n".join(assignments).encode(errors="replace"), address)
    except (OSError, ValueError) as error:  # ValueError: an address no socket can have
        _logger.debug("cannot notify the service manager: %s", error)
