"""The status of a tunnel for the monitor: plain numbers and texts, taken at one moment."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from msgspec import Struct

from backhaul.addresses import port_name
from backhaul.state import MemberState

Side = Literal["server", "client"]
NO_CLIENT: Final = "no client"
"""The problem of a port that would be up if a client were connected."""
DRAINING: Final = "draining"
"""The problem of a port that would be up if the administrator had not asked to refuse new users."""
CLOSED: Final = frozenset({NO_CLIENT, DRAINING})
"""The problems that concern all ports of an end together."""
OTHERS: Final = "(others)"
"""The target of a client's entry for all targets that no longer have one of their own."""


class PortStatus(Struct, frozen=True, gc=False):
    """One port of the server, or one target of the client. All counters start at 0 with the program."""

    port: int
    """The server's local port, or on the client the port of the target; 0 for a Unix socket."""
    bind: str
    """The local address of the server's port, or the path of a Unix socket; empty on the client."""
    target: str
    """The target of its users, as in the configuration."""
    open: int
    """Connections open now."""
    total: int
    """Connections accepted so far, including open ones."""
    refused: int
    """Connections refused before they reached the tunnel."""
    refused_by: dict[str, int]
    """The same by reason, which is one word; empty on the client."""
    dropped: int
    """Connections accepted and then closed, because the tunnel or the target failed."""
    target_refused: int
    """Connections reset by the target before it sent a byte, as seen by the server; 0 on the client."""
    received: int
    """Bytes received from users."""
    sent: int
    """Bytes sent to users."""
    udp_flows: int
    """UDP flows open now."""
    udp_dropped: int
    """Dropped datagrams."""
    up: bool
    """True if the port accepts users; always true on the client."""
    problem: str
    """The reason why the port accepts none; empty while it is up."""
    reached: float = 0.0
    """The last success of the target in seconds since 1970; 0 without one. On the server a user has left after an
    answer, on the client the target was dialled."""
    failed: float = 0.0
    """Its last failure, likewise."""
    failure: str = ""
    """The reason of that failure."""

    @property
    def fails(self) -> bool:
        """True if the last user did not reach the target."""
        return self.failed > self.reached

    client: str = ""
    """The name of the client that its users are for; empty for the one without a name, and on the client."""
    group: str = ""
    """The name of the group of clients that its users are for; otherwise empty."""
    protocol: str = ""
    """The only protocol of its users, tcp or udp, if the configuration names one; otherwise empty."""

    @property
    def name(self) -> str:
        """The address and number of the server's port, and the protocol if one is named."""
        spot = port_name(self.bind, self.port)
        return f"{spot}/{self.protocol}" if self.protocol else spot


class ClientStatus(Struct, frozen=True, gc=False):
    """One client of a server that has several."""

    name: str
    """Empty for the client without a table of its own."""
    connected: bool
    peer: str
    """The address of the client; empty while it is not connected."""
    problem: str
    """The reason why no user can be carried, as far as the server knows; otherwise empty."""
    rtt: float | None
    """The round-trip time of the control channel in seconds, or None if it is not measured."""
    reconnects: int
    users: int
    """Present users."""
    pool_idle: int
    """Connections waiting for a user."""
    draining: bool = False
    """True while the administrator refuses new users for this client."""


class LimitStatus(Struct, frozen=True, gc=False):
    """A limit in force."""

    table: str
    """The table of the configuration: "limits" for all ports, or "limits.443" for one."""
    limit: str
    """The key in this table."""
    unit: str
    """The unit of both numbers: users, users/s, bytes, bit/s, seconds or networks."""
    most: int
    used: int | None
    """The use at present, or in the present day or month; None for a limit without a use. If each source
    has the limit it is that of the source with the most."""

    @property
    def name(self) -> str:
        """The key with its table."""
        return f"{self.table}.{self.limit}"


class ServerStatus(Struct, frozen=True, gc=False):
    """One of several servers of a client."""

    name: str
    """Its address in the configuration, or one of the addresses of a name."""
    transport: str
    in_use: bool
    """True if the client is connected to it, or tries to be."""
    connected: bool
    peer: str
    """The address that answered; empty while it is not connected."""
    problem: str
    """The reason why no user can be carried, as far as the client knows; otherwise empty."""
    reconnects: int
    replaced: bool = False
    """True if it serves users until its successor, which a reload has brought, is connected."""

    @property
    def state(self) -> str:
        """The state in words."""
        if self.connected:
            return f"connected to {self.peer}{', until its successor is' if self.replaced else ''}"
        return self.problem or ("NOT CONNECTED" if self.in_use else "not in use")


class GroupStatus(Struct, frozen=True, gc=False):
    """A group of clients that serve the same ports."""

    name: str
    balance: str
    """least, source or order."""
    members: tuple[MemberState, ...]
    health: str = ""
    """The kind of its health checks, as in the configuration; empty without them."""
    health_interval: int = 0
    """Seconds between two checks."""


class Event(Struct, frozen=True, gc=False):
    """One line of the log."""

    id: int
    """Counted from 1 in each run of the program."""
    time: float
    """Seconds since 1970, UTC."""
    level: str
    """Python's name of the level in lower case: "info", "warning", "error", "critical"."""
    text: str
    """One line with escaped control characters."""


class Status(Struct, frozen=True, gc=False):
    """One end of the tunnel at one moment."""

    config: str
    """The full path of the configuration file."""
    side: Side
    transport: str
    stopping: bool
    """True while the program is stopping: another one that runs the same file may take over."""
    draining: bool
    """True while the administrator refuses new users."""
    connected: bool
    peer: str
    """The address of the other end, or how many of several clients are connected; empty while none is."""
    problem: str
    """The reason why the tunnel cannot be connected, as far as this end knows; otherwise empty."""
    rtt: float | None
    """The round-trip time of the control channel in seconds, or None if it is not measured."""
    reconnects: int
    """The number of times that the lost tunnel was connected again."""
    unanswered: int
    """Users who sent bytes into the tunnel and received none, as seen by the server; 0 on the client."""
    pool_idle: int
    """Connections waiting for a user."""
    pool_size: int | None
    """The wanted number of connections in the pool, or None if the other side decides."""
    allow_targets: tuple[str, ...]
    """The targets that the client allows; empty for all but Unix sockets, and on the server."""
    sessions: int
    streams: int
    flows: int
    """UDP flows of all ports."""
    now: float
    """The time of the status, in seconds since 1970, UTC."""
    started: float
    """The start of the program, likewise."""
    ports: tuple[PortStatus, ...]
    events: tuple[Event, ...]
    """The last lines of the log, the newest last."""
    version: str
    parked: int = 0
    """Sessions that have lost their connection and wait for another one."""
    resumes: int = 0
    """Times that a session resumed on another connection, rotations among them."""
    rotations: int = 0
    """Connections that were replaced because of their age or their bytes."""
    resume_seconds: float = 0.0
    """Seconds that sessions spent without a connection before they resumed."""
    replayed: int = 0
    """Bytes that were sent again."""
    spooled: int = 0
    """Bytes of memory for bytes that the other end has not acknowledged yet."""
    waiting: int = 0
    """Users without a tunnel connection, as seen by the server; 0 on the client."""
    tunnel: str = ""
    """The name of this end, if there are several in the process."""
    servers: tuple[ServerStatus, ...] = ()
    """The servers of a client that has several."""
    clients: tuple[ClientStatus, ...] = ()
    """The clients of a server that has named ones."""
    groups: tuple[GroupStatus, ...] = ()
    """The groups of a server's clients."""
    limits: tuple[LimitStatus, ...] = ()
    """The limits of users that the server's configuration sets."""

    @property
    def users(self) -> int:
        """The number of users of all ports."""
        return sum(port.open + port.udp_flows for port in self.ports)

    @property
    def ready(self) -> bool:
        """True if new users can be served: on a server through one of its ports at least."""
        leaving = self.stopping or self.draining
        return self.connected and not leaving and (self.side == "client" or any(port.up for port in self.ports))


def traffic(status: Status) -> dict[int, int]:
    """Return the bytes of each port since the program started."""
    ports: Counter[int] = Counter()
    for port in status.ports:
        ports[port.port] += port.received + port.sent
    return ports


Survey = Callable[[], Awaitable[Status]]
"""Returns the present status, made in turns of the event loop."""

Read = Callable[[], Status]
"""Returns the present status; called in the event loop's thread, and fast."""
