"""The service manager of several ends in one process, which it sees as one service."""

import logging
import socket
from collections.abc import Callable
from contextvars import Context
from typing import Final

from . import notify

_logger: Final = logging.getLogger(__name__)

Spot = int | str
"""The port of a socket, or the path of a Unix socket."""
Wants = Callable[[Spot], bool]


class SharedManager:
    """Reports to the service manager what the ends report together."""

    def __init__(self) -> None:
        self._unready: set[str] = set()  # ends that start or reload
        self._alive: set[str] = set()  # ends that have not reported that they stop
        self._texts: dict[str, str] = {}
        self._inherited: list[tuple[str, socket.socket]] | None = None
        self._reported: set[Spot] = set()

    def part(self, name: str, wants: Wants) -> "Part":
        """Return the manager as one end sees it, with the inherited sockets that the end ``wants``."""
        self._unready.add(name)
        self._alive.add(name)
        return Part(self, name, wants)

    def ready(self, name: str) -> None:
        """Report that all have started or reloaded, if this end was the last one."""
        if name in self._unready:
            self._unready.remove(name)
            if not self._unready:
                self._report_unwanted()
                notify.ready()

    def _report_unwanted(self) -> None:
        """Warn of inherited sockets that no end uses, in which users would wait; an end with mistakes may use them."""
        for spot in {_spot(sock) for _, sock in self._inherited or ()} - self._reported:
            self._reported.add(spot)
            Context().run(  # without the name of the end that happens to be the last one
                _logger.warning,
                "socket %s of the service manager: in no configuration that runs; remove it from the .socket unit, or "
                "name it in bind_addr, ports, or web_bind and web_port",
                spot,
            )

    def reloading(self, name: str) -> None:
        """Report that a reload begins."""
        if not self._unready:
            notify.reloading()
        self._unready.add(name)

    def leave(self, name: str) -> None:
        """Report that the program is stopping, if this end was the last one."""
        if name in self._alive:
            self.show(name, "")
            self._alive.remove(name)
            if not self._alive:
                notify.stopping()
            self.ready(name)

    def show(self, name: str, text: str) -> None:
        """Show the states of all ends."""
        self._texts.pop(name, None)
        self._texts |= {name: text} if text else {}
        notify.status("; ".join(f"{end}: {state}" for end, state in sorted(self._texts.items())))

    def take(self, wants: Wants) -> list[tuple[str, socket.socket]]:
        """Return the inherited sockets that an end wants; the rest is for others."""
        if self._inherited is None:
            self._inherited = notify.inherited()
        taken = [(name, sock) for name, sock in self._inherited if wants(_spot(sock))]
        self._inherited = [(name, sock) for name, sock in self._inherited if not wants(_spot(sock))]
        return taken


class Part:
    """The service manager as one end sees it."""

    def __init__(self, whole: SharedManager, name: str, wants: Wants) -> None:
        self._whole = whole
        self._name = name
        self._wants = wants

    def ready(self) -> None:
        """Report that start-up, or a reload, is complete."""
        self._whole.ready(self._name)

    def reloading(self) -> None:
        """Report that a reload begins."""
        self._whole.reloading(self._name)

    def stopping(self) -> None:
        """Report that this end is stopping."""
        self._whole.leave(self._name)

    def status(self, text: str) -> None:
        """Show ``text`` as the state of this end."""
        self._whole.show(self._name, text)

    def watchdog(self) -> None:
        """Report that the program is alive."""
        notify.watchdog()

    def watchdog_interval(self) -> float | None:
        """Return the seconds between calls of ``watchdog``, or None without a watchdog."""
        return notify.watchdog_interval()

    def inherited(self) -> list[tuple[str, socket.socket]]:
        """Return the sockets passed by the service manager that this end wants, once."""
        return self._whole.take(self._wants)


def _spot(sock: socket.socket) -> Spot:
    name = sock.getsockname()
    return str(name) if sock.family == socket.AF_UNIX else int(name[1])
