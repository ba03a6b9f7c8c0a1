"""What the log and the administrator's own program learn about ports that can't be opened."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from .news import News
from .port import Port

log = logging.getLogger("backhaul.server")

MOST_LINES: Final = 8
"""Ports with one reason that have a line each: a range may hold all ports of the machine."""


class PortReports:
    """Collects the changes of ports, and reports them together."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._down: defaultdict[str, list[Port]] = defaultdict(list)  # by the reason
        self._up: list[Port] = []

    def note(self, port: Port, before: str) -> None:
        """Note the outcome of an attempt to open a port; ``before`` is its former problem."""
        if port.problem and not before:
            self._down[port.problem].append(port)
        elif before and not port.problem:
            self._up.append(port)

    def tell(self) -> None:
        """Report everything noted."""
        down, up = dict(self._down), list(self._up)
        self._down.clear()
        self._up.clear()
        for problem, ports in down.items():
            for names in _named(ports):
                log.error("port %s: %s; retried until it works", names, problem)
            for port in ports:
                self._news.port_down(port.title, problem)
        for names in _named(up):
            log.info("port %s: now open", names)
        for port in up:
            self._news.port_up(port.title)


def _named(ports: Sequence[Port]) -> list[str]:
    """Return the names of ports for one line each, or for one line together."""
    if len(ports) <= MOST_LINES:
        return [port.name for port in ports]
    return [f"{ports[0].name} and {len(ports) - 1} others up to {ports[-1].name}"]
