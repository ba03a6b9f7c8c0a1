"""The local ports that users connect to."""

import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from backhaul.burst import Burst
from backhaul.config import Address, Mapping
from backhaul.relay.datagrams import Tally
from backhaul.relay.direction import Meter
from backhaul.relay.pair import Traffic
from backhaul.relay.poller import Poller
from backhaul.transports.acceptor import Acceptor
from backhaul.transports.sockets import SocketOptions, listen

log = logging.getLogger("backhaul.server")


class Port:
    """One local port, its target, and what has happened on it; plain integers that the monitor reads."""

    __slots__ = ("_acceptor", "_datagrams", "dropped", "mapping", "open", "refused", "total", "traffic", "udp")

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.traffic = Traffic(Meter(), Meter())
        self.open = 0  # users connected now
        self.total = 0  # users since the start
        self.refused = 0  # users turned away at once: too many wait, or the machine has no descriptors left
        self.dropped = 0  # users closed because nothing could carry them in time
        self.udp = Tally()  # of its UDP side
        self._acceptor: Acceptor | None = None
        self._datagrams: DatagramListener | None = None

    def listen(
        self,
        poller: Poller,
        options: SocketOptions,
        accepted: Callable[[socket.socket, Any], None],
        refused: Callable[[OSError], None],
    ) -> None:
        """Open the port; raises OSError."""
        listener = listen(self.mapping.bind_host, self.mapping.bind_port, options)
        self._acceptor = Acceptor(poller, listener, accepted, refused)

    def set_options(self, options: SocketOptions) -> None:
        """Give users to come these options."""
        if self._acceptor:
            self._acceptor.set_options(options)

    def listen_datagrams(self, listen: "ListenDatagrams") -> None:
        """Open the port for UDP; raises OSError."""
        self._datagrams = listen(self)

    def close(self) -> None:
        """Take no more users; those that are connected stay, flows end."""
        if self._acceptor:
            self._acceptor.close()
            self._acceptor = None
        self.close_datagrams()

    def close_datagrams(self) -> None:
        """Take no more datagrams; flows end."""
        if self._datagrams:
            self._datagrams.close()
            self._datagrams = None

    def user_closed(self) -> None:
        """A user of this port is gone."""
        self.open -= 1


class DatagramListener(Protocol):
    """What a port holds while it is open for UDP."""

    def close(self) -> None:
        """Close the socket and end the flows."""


ListenDatagrams = Callable[[Port], DatagramListener]


class Ports:
    """All local ports of a server; `accepted(port, sock, address)` gets the users.

    A port is open for TCP, for UDP or for both, as `streams` and `listen_datagrams` say.
    """

    def __init__(
        self,
        poller: Poller,
        options: SocketOptions,
        accepted: Callable[[Port, socket.socket, Any], None],
        *,
        streams: bool = True,
        listen_datagrams: ListenDatagrams | None = None,
    ) -> None:
        self._streams = streams
        self._listen_datagrams = listen_datagrams
        self._poller = poller
        self._options = options
        self._accepted = accepted
        self._burst = Burst(log)
        self.open: dict[tuple[str, int], Port] = {}

    def add(self, mappings: Iterable[Mapping]) -> list[str]:
        """Open the ports of `mappings`; one line for each that can't be had."""
        failures = []
        for mapping in mappings:
            try:
                self._open(Port(mapping))
            except OSError as error:
                failures.append(_cant_listen(mapping, error))
        return failures

    def set_options(self, options: SocketOptions) -> None:
        """Give users to come, on whatever port, these options."""
        if options != self._options:
            self._options = options
            for port in self.open.values():
                port.set_options(options)

    def take_datagrams(self, listen: ListenDatagrams | None) -> list[str]:
        """Open all ports for UDP, or (None) close them for it; one line for each that can't be had."""
        self._listen_datagrams = listen
        failures = []
        for port in self.open.values():
            port.close_datagrams()
            try:
                if listen:
                    port.listen_datagrams(listen)
            except OSError as error:
                failures.append(_cant_listen(port.mapping, error))
        return failures

    def remove(self, mappings: Iterable[Mapping]) -> None:
        """Close the ports of `mappings`; their users stay."""
        for mapping in mappings:
            if port := self.open.pop((mapping.bind_host, mapping.bind_port), None):
                port.close()

    def close(self) -> None:
        """Close all ports."""
        while self.open:
            self.open.popitem()[1].close()

    def _open(self, port: Port) -> None:
        def accepted(sock: socket.socket, address: Any) -> None:  # noqa: ANN401 - as the socket module has it
            self._accepted(port, sock, address)

        def refused(error: OSError) -> None:
            port.refused += 1
            self._refused(error)

        try:
            if self._streams:
                port.listen(self._poller, self._options, accepted, refused)
            if self._listen_datagrams:
                port.listen_datagrams(self._listen_datagrams)
        except OSError:
            port.close()
            raise
        self.open[port.mapping.bind_host, port.mapping.bind_port] = port

    def _refused(self, error: OSError) -> None:
        self._burst.warn(error.errno, f"can't accept a user: {error.strerror}; that user is closed, the rest goes on")


def _cant_listen(mapping: Mapping, error: OSError) -> str:
    address = Address(mapping.bind_host, mapping.bind_port)
    return f"can't listen on {address}: {(error.strerror or str(error)).lower()}"
