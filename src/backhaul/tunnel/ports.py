"""The local ports for users."""

import errno
import functools
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from socket import SOCK_DGRAM, SOCK_STREAM, SocketKind
from typing import Any

from backhaul.config import PortMapping
from backhaul.config.diff import PortChange
from backhaul.config.kinds import Kinds
from backhaul.errors import reason
from backhaul.net.listeners import Listeners
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import Poller
from backhaul.net.sockets import SocketOptions

from .news import News
from .places import Room
from .port import ListenDatagrams, Port
from .port_reports import PortReports
from .retries import Retries
from .timings import Timings

log = logging.getLogger("backhaul.server")


class Ports:
    """All local ports of a server; ``accepted(port, sock, address)`` receives the users.

    A port is open for TCP, for UDP or for both, as ``served`` says. A port that cannot be opened, or only for one
    of both, stays listed and is retried.
    """

    def __init__(
        self,
        poller: Poller,
        listeners: Listeners,
        options: SocketOptions,
        accepted: Callable[[Port, socket.socket, Any], None],
        listen_datagrams: ListenDatagrams,
        *,
        served: Kinds,
        timings: Timings,
        news: News,
    ) -> None:
        self._reports = PortReports(news)
        self._served = served
        self._changed: list[Port] = []  # that may have to open for other kinds of users
        self._listen_datagrams = listen_datagrams
        self._poller = poller
        self._listeners = listeners
        self._options = options
        self._accepted = accepted
        self._throttle = LogThrottle(log)
        self._retries = Retries(self.retry, timings.reopen_pauses)
        self.refusing = False
        """True while TCP users are refused, for lack of a client or because the tunnel is drained."""
        self.all: dict[tuple[str, int, str], Port] = {}
        """By the places of their mappings."""

    @property
    def open(self) -> dict[tuple[str, int, str], Port]:
        """The ports that are fully open."""
        return {place: port for place, port in self.all.items() if not port.problem}

    @property
    def down(self) -> list[Port]:
        """The ports that are not open, or not for both TCP and UDP."""
        return [port for port in self.all.values() if port.problem]

    def add(self, mappings: Iterable[PortMapping]) -> None:
        """Open the ports of ``mappings``."""
        for mapping in mappings:
            self.all[mapping.place] = port = Port(mapping)
            self._open(port)
        self._settle()

    def set_options(self, options: SocketOptions) -> None:
        """Set the options of future users on all ports."""
        if options != self._options:
            self._options = options
            for port in self.all.values():
                port.set_options(options)

    def make_way(self, kinds: Kinds, change: PortChange) -> None:
        """Close what is no longer needed, because another port may get its address; present TCP users stay.

        The targets of some ports, and the protocols that they name, change for future users.
        """
        for mapping in change.removed:
            self.all.pop(mapping.place).close()
        changed = [(self.all[before.place], after) for before, after in change.retargeted]
        concerned = [port for port, _ in changed] if kinds == self._served else list(self.all.values())
        before = [(port, self._served.of(port.mapping)) for port in concerned]
        self._served = kinds
        for port, mapping in changed:
            if mapping.place != port.mapping.place:
                self.all[mapping.place] = self.all.pop(port.mapping.place)
            port.mapping = mapping
        self._narrow(before)
        self._changed += concerned

    def widen(self) -> None:
        """Open the ports that have changed for the kinds of users that they have now, when all others have made way."""
        changed, self._changed = self._changed, []
        for port in changed:
            self._open(port)
        self._settle()

    def close_datagrams(self) -> None:
        """Accept no more datagrams; flows end."""
        self._served = self._served.without_datagrams()
        for port in self.all.values():
            port.close_datagrams()

    def retry(self) -> bool:
        """Try to open the ports that are down; return whether all are open."""
        for port in self.down:
            self._open(port)
        self._reports.tell()
        return not self.down

    def refuse(self) -> None:
        """Refuse TCP users until ``admit``, and keep all ports."""
        self.refusing = True
        for port in self.all.values():
            port.refuse()

    def admit(self) -> None:
        """Accept users again."""
        self.refusing = False
        for port in self.all.values():
            port.admit()
            self._open(port)
        self._settle()

    def loosen(self, room: Room) -> None:
        """Let the flows of users with a place in ``room`` begin again with the next datagram."""
        for port in self.all.values():
            port.loosen(room)

    def finish(self) -> None:
        """Accept the TCP users in the queues, then close all ports."""
        if not self.refusing:
            for port in self.all.values():
                port.finish()
        self.close()

    def close(self) -> None:
        """Close all ports."""
        self._retries.stop()
        while self.all:
            self.all.popitem()[1].close()

    def _narrow(self, changed: Iterable[tuple[Port, frozenset[SocketKind]]]) -> None:
        """Close ports for the kinds of users that they had before, and no longer have."""
        closed = [(port, before - self._served.of(port.mapping)) for port, before in changed]
        _warn_of_users(closed)
        for port, kinds in closed:
            if SOCK_STREAM in kinds:
                port.close_streams()
            if SOCK_DGRAM in kinds:
                port.close_datagrams()

    def _open(self, port: Port) -> None:
        """Open a port for TCP and UDP, as far as it is not."""
        failures = list(self._failures(port))
        before, port.problem, port.missing = port.problem, "; ".join(failures), len(failures)
        self._reports.note(port, before)
        if self.refusing:
            port.refuse()

    def _failures(self, port: Port) -> Iterator[str]:
        kinds = self._served.of(port.mapping)
        try:
            if SOCK_STREAM in kinds:
                port.listen(
                    self._poller,
                    self._listeners,
                    self._options,
                    functools.partial(self._accepted, port),
                    functools.partial(self._refused, port),
                )
        except OSError as error:
            yield reason(error)
        try:
            if SOCK_DGRAM in kinds:
                port.listen_datagrams(self._listen_datagrams)
        except OSError as error:
            yield f"UDP: {reason(error)}" if SOCK_STREAM in kinds else reason(error)

    def _settle(self) -> None:
        """Report the outcome of attempts to open ports, and repeat those that have failed."""
        self._reports.tell()
        if self.down:
            self._retries.start()

    def _refused(self, port: Port, error: OSError) -> None:
        port.turned_away("descriptors")
        remedy = "; raise the limit of open files (LimitNOFILE)" if error.errno == errno.EMFILE else ""
        self._throttle.warn(
            error.errno,
            f"port {port.name}: user not accepted: {error.strerror}; this user is closed, others continue{remedy}",
        )


def _warn_of_users(closed: Sequence[tuple[Port, frozenset[SocketKind]]]) -> None:
    """Log that ports with users close for their kind."""
    if any(SOCK_DGRAM in kinds and port.udp.flows for port, kinds in closed):
        log.warning("ports: closed for UDP, their flows have ended; `accept_udp = true` or /udp keeps them")
    if any(SOCK_STREAM in kinds and port.open for port, kinds in closed):
        log.warning("ports: closed for TCP; users in flight stay, others need a transport or an entry for TCP")
