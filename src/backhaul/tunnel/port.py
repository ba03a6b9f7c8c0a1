"""A local port for users."""

import socket
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from backhaul.addresses import port_name
from backhaul.config import PortMapping
from backhaul.net.listener import Acceptor
from backhaul.net.listeners import Listeners
from backhaul.net.poller import Poller
from backhaul.net.sockets import SocketOptions
from backhaul.net.udp import Counters
from backhaul.relay.traffic import Meter, Traffic
from backhaul.state import PortState, RefusalState, UserTimesState

from .histogram import UserTimes
from .places import Room
from .target_health import TargetHealth


class DatagramListener(Protocol):
    """The listener of a port that is open for UDP."""

    def close(self) -> None:
        """Close the socket and end the flows."""

    def loosen(self, room: Room) -> None:
        """Let the flows of users with a place in ``room`` begin again with the next datagram."""


class Port:
    """One local port, its target, and its counters, which are plain integers."""

    __slots__ = (
        "_acceptor",
        "_datagrams",
        "dropped",
        "health",
        "label",
        "mapping",
        "missing",
        "open",
        "problem",
        "refused",
        "refused_by",
        "target_refused",
        "times",
        "total",
        "traffic",
        "udp",
    )

    def __init__(self, mapping: PortMapping) -> None:
        self.mapping = mapping
        self.label = port_name(mapping.bind_host, mapping.bind_port)  # as in lists of users
        self.problem = ""  # the reason why it is not open; empty while it is
        self.missing = 0  # sockets that could not be opened
        self.traffic = Traffic(Meter(), Meter())
        self.open = 0  # users connected now
        self.total = 0  # users since the start
        self.refused = 0  # users closed at once: by a limit, because too many wait, or for lack of descriptors
        self.refused_by: dict[str, int] = {}  # the same by reason
        self.dropped = 0  # users closed because no carrier was free in time
        self.target_refused = 0  # users whose target reset the connection before it sent a byte
        self.health = TargetHealth()
        self.times: defaultdict[str, UserTimes] = defaultdict(UserTimes)  # by the name of the client
        self.udp = Counters()  # for UDP users
        self._acceptor: Acceptor | None = None
        self._datagrams: DatagramListener | None = None

    @property
    def name(self) -> str:
        """The address and the number, or the number alone if it listens on all addresses."""
        return self.mapping.bind

    @property
    def title(self) -> str:
        """The label, with the protocol if the mapping names one."""
        return f"{self.label}/{self.mapping.protocol}" if self.mapping.protocol else self.label

    @property
    def users(self) -> int:
        """The number of users of streams and of datagrams."""
        return self.open + self.udp.flows

    def turned_away(self, why: str) -> None:
        """Count a user who was refused."""
        self.refused += 1
        self.refused_by[why] = self.refused_by.get(why, 0) + 1

    def state(self) -> PortState:
        """Return the state of this port."""
        return PortState(
            bind_host=self.mapping.bind_host,
            bind_port=self.mapping.bind_port,
            protocol=self.mapping.protocol,
            target=self.mapping.target,
            problem=self.problem,
            open=self.open,
            total=self.total,
            refused=self.refused,
            refusals=tuple(RefusalState(why, count) for why, count in self.refused_by.items()),
            dropped=self.dropped,
            target_refused=self.target_refused,
            health=self.health.state(),
            received=self.traffic.received.bytes,
            sent=self.traffic.sent.bytes,
            flows=self.udp.flows,
            datagrams_dropped=self.udp.dropped,
        )

    def time_states(self) -> Iterator[UserTimesState]:
        """Return the times of the users of each client; pauses in between do no harm."""
        for client, times in list(self.times.items()):
            yield UserTimesState(
                bind_host=self.mapping.bind_host,
                bind_port=self.mapping.bind_port,
                protocol=self.mapping.protocol,
                client=client,
                waiting=times.waiting.state(),
                duration=times.duration.state(),
            )

    def listen(
        self,
        poller: Poller,
        listeners: Listeners,
        options: SocketOptions,
        accepted: Callable[[socket.socket, Any], None],
        refused: Callable[[OSError], None],
    ) -> None:
        """Open the port unless it is open; raise OSError if that fails."""
        if not self._acceptor:
            listener = listeners.streams(self.mapping.bind_host, self.mapping.bind_port, options)
            self._acceptor = Acceptor(poller, listener, accepted, refused, end=poller.descriptors.users_end)

    def set_options(self, options: SocketOptions) -> None:
        """Set the options of future users."""
        if self._acceptor:
            self._acceptor.set_options(options)

    def listen_datagrams(self, listen: "ListenDatagrams") -> None:
        """Open the port for UDP unless it is open; raise OSError if that fails."""
        if not self._datagrams:
            self._datagrams = listen(self)

    def refuse(self) -> None:
        """Refuse users until ``admit``, and keep the port."""
        if self._acceptor:
            try:
                self._acceptor.refuse()
            except OSError:  # not supported by this system: the port must be opened again
                self.close_streams()

    def admit(self) -> None:
        """Accept users again; a port that cannot is closed, so that it can be opened again."""
        if self._acceptor:
            try:
                self._acceptor.admit()
            except OSError:
                self.close_streams()

    def close(self) -> None:
        """Accept no more users; connected ones stay, flows end."""
        self.close_streams()
        self.close_datagrams()

    def finish(self) -> None:
        """Accept the users in the queue, then no more."""
        if self._acceptor:
            self._acceptor.finish()
            self._acceptor = None

    def close_streams(self) -> None:
        """Accept no more TCP users; connected ones stay."""
        if self._acceptor:
            self._acceptor.close()
            self._acceptor = None

    def loosen(self, room: Room) -> None:
        """Let the flows of users with a place in ``room`` begin again with the next datagram."""
        if self._datagrams:
            self._datagrams.loosen(room)

    def close_datagrams(self) -> None:
        """Accept no more datagrams; flows end."""
        if self._datagrams:
            self._datagrams.close()
            self._datagrams = None


ListenDatagrams = Callable[[Port], DatagramListener]
