"""The state of each end as plain data, taken at one moment.

Each end returns its state on request. Status, page and metrics use nothing else of the rooms that carry users, so those
rooms may change without them. The state of an end does not grow with the number of users, each of whom has a state of
their own. Nothing holds a secret.
"""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

TCP: Final = "tcp"
UDP: Final = "udp"


class LinkState(Struct, frozen=True, gc=False):
    """A smux session on a connection."""

    number: int
    """Sessions of one process are numbered from 1."""
    streams: int
    """Streams that are not closed by both sides."""
    extensions: bool
    """True if the other end understands the extensions of this program, as far as is known."""
    proven: bool
    """True if the connection is known to lead to the other end of the tunnel."""
    stalled: bool
    """True if new users avoid it, because it is stalled."""
    unread: int
    """Bytes that have arrived and that users or targets have not taken."""
    unsent: int
    """Bytes that the connection has not taken."""
    parked: bool = False
    """True if it has lost its connection and waits for another one."""
    spooled: int = 0
    """Bytes of memory for bytes that the other end has not acknowledged."""


class ResumptionState(Struct, frozen=True, gc=False):
    """The smux sessions that outlive their connections; counters start at 0 with the program."""

    parked: int
    """Sessions without a connection."""
    resumes: int
    """Times that a session went on with another connection."""
    rotations: int
    """Resumptions that replaced a connection because of its age or its bytes."""
    seconds: float
    """Seconds that sessions spent without a connection, until they went on."""
    replayed: int
    """Bytes that were sent again."""
    memory: int
    """Bytes of memory for bytes that are not acknowledged yet."""


class RelayState(Struct, frozen=True, gc=False):
    """The data plane of one end."""

    users: int
    """Users of streams that are joined with a carrier."""
    flows: int
    """UDP flows."""
    unsent: int
    """Bytes that sockets have not taken, in all connections together."""
    links: tuple[LinkState, ...]
    resumption: ResumptionState


class SessionState(Struct, frozen=True, gc=False):
    """One tunnel, as one of its ends sees it: the control channel and the idle tunnel connections."""

    connected: bool
    """True if users can be carried, as far as this end knows."""
    peer: str
    """Address of the other end, or the number of clients of a server that has several; empty while there is none."""
    problem: str
    """The reason why no user can be carried, as far as this end knows; otherwise empty."""
    opened: int
    """Control channels since the start."""
    rtt: float
    """Seconds of a round trip on the control channel; 0 if not measured."""
    idle: int
    """Tunnel connections that wait for a user."""


def joint(sessions: Sequence[SessionState]) -> SessionState:
    """Return the sessions of a server's clients as one, which is connected if any is."""
    if len(sessions) == 1:
        return sessions[0]
    connected = [session for session in sessions if session.connected]
    return SessionState(
        connected=bool(connected),
        peer=f"{len(connected)} of {len(sessions)} clients" if connected else "",
        problem=next((session.problem for session in sessions if session.problem), ""),
        opened=sum(session.opened for session in sessions),
        rtt=max((session.rtt for session in connected), default=0.0),
        idle=sum(session.idle for session in sessions),
    )


class MovedState(Struct, frozen=True, gc=False):
    """Bytes that all users together have moved, without those of ports that a reload has removed."""

    received: int
    """Bytes from users."""
    sent: int
    """Bytes to users."""


class DestinationState(Struct, frozen=True, gc=False):
    """A server of a client, or one of its addresses."""

    name: str
    transport: str
    in_use: bool
    """True if the client wants to be connected to it now."""
    session: SessionState
    replaced: bool = False
    """True if it is left once its successor, which has the same name if it is the same server, is connected."""


class LimitState(Struct, frozen=True, gc=False):
    """A limit in force."""

    table: str
    """The table of the configuration, such as "limits" or "limits.443"."""
    limit: str
    """The key in this table."""
    unit: str
    """Of the two numbers."""
    most: int
    used: int
    """The use at present, or in this day or month; that of the source with the most, if sources have the limit."""
    counted: bool
    """False for a limit without a use, such as a timeout."""


class RefusalState(Struct, frozen=True, gc=False):
    """The users of a port who were refused for one reason."""

    reason: str
    """One of a few words, such as "denied" or "users"."""
    count: int


class HealthState(Struct, frozen=True, gc=False):
    """The health of a target, judged by its users."""

    reached: float
    """The last success in seconds since 1970; 0 without one. On the server a user has left after an
    answer, on the client the target was dialled."""
    failed: float
    """The last failure, likewise."""
    failure: str
    """The reason of that."""


class PortState(Struct, frozen=True, gc=False):
    """A local port of the server; counters start at 0 with the port."""

    bind_host: str
    """A host, or the path of a Unix socket; empty for all addresses."""
    bind_port: int
    protocol: str
    """The only one of its users, tcp or udp, if the configuration names one; otherwise empty."""
    target: str
    problem: str
    """The reason why it is not open; otherwise empty."""
    open: int
    """Users connected now."""
    total: int
    """Users since the start."""
    refused: int
    """Users refused at once."""
    refusals: tuple[RefusalState, ...]
    """The same by reason."""
    dropped: int
    """Users closed because no carrier was found in time."""
    target_refused: int
    """Users whose target reset the connection before it had sent a byte."""
    health: HealthState
    received: int
    """Bytes from users."""
    sent: int
    """Bytes to users."""
    flows: int
    """UDP flows alive now."""
    datagrams_dropped: int


class HistogramState(Struct, frozen=True, gc=False):
    """The counts of a histogram."""

    bounds: tuple[float, ...]
    """The upper bounds of all buckets but the last, which has none."""
    counts: tuple[int, ...]
    """The values in each bucket alone."""
    total: float
    """The sum of all values."""


class UserTimesState(Struct, frozen=True, gc=False):
    """The times of TCP users of one port and one client, in seconds; counters start at 0 with the port."""

    bind_host: str
    bind_port: int
    protocol: str
    """As in the state of the port: a port that has lost TCP keeps its times beside those of a new one for TCP."""
    client: str
    """The name of the client; empty for the one without a name."""
    waiting: HistogramState
    """From the arrival until a carrier was found, of the users who got one."""
    duration: HistogramState
    """From the arrival to the end, of all users who have left."""


class TargetState(Struct, frozen=True, gc=False):
    """A target that the client dials; counters start at 0 with the program."""

    target: str
    open: int
    """Users connected now."""
    total: int
    """Users since the start, without those of datagrams."""
    refused: int
    """Users whom the client refused to connect to it."""
    dropped: int
    """Users for whom the target could not be reached."""
    health: HealthState
    received: int
    """Bytes from users."""
    sent: int
    """Bytes to users."""
    flows: int
    """UDP flows alive now."""

    @property
    def used(self) -> bool:
        """True if any counter is not zero."""
        return bool(self.total or self.dropped or self.refused or self.flows or self.received or self.sent)


class UserState(Struct, frozen=True, kw_only=True, gc=False):
    """A user in flight, of a stream or of a UDP flow."""

    number: int
    """Unique in the process."""
    datagrams: bool
    """True for a UDP flow."""
    age: float
    """Seconds since the user arrived."""
    host: str = ""
    """The user's address; empty on the client, which does not know it."""
    port: int = 0
    """The user's port; 0 on a Unix socket, and on the client."""
    bind_host: str = ""
    """The address of the local port; empty on the client."""
    bind_port: int = 0
    """The local port; 0 on a Unix socket, and on the client."""
    client: str = ""
    """The name of the connected client, or its address; empty on the client."""
    target: str
    transport: str
    stream: str
    """The stream of a session that carries the user; empty on a connection of the user's own."""
    phase: str
    """One of a few words, such as "open" or "waiting"."""
    received: int
    """Bytes from the user."""
    sent: int
    """Bytes to the user."""

    @property
    def protocol(self) -> str:
        """The user's own protocol, TCP or UDP, in lower case."""
        return UDP if self.datagrams else TCP


class ServedState(Struct, frozen=True, gc=False):
    """One client of the server, and its tunnel."""

    name: str
    """Empty for the client without a table of its own."""
    session: SessionState
    waiting: int
    """Users, of streams or of flows, without a carrier."""
    unanswered: int
    """Users who sent bytes into the tunnel and received none."""
    draining: bool
    """True while the administrator refuses new users for this client."""
    refusing: bool
    """True if users are refused, because of that or because the client has not been connected for a while."""
    users: int
    """Users who are present."""
    ports: tuple[PortState, ...]


MemberPhase = Literal["ready", "draining", "unhealthy", "not connected"]


class MemberState(Struct, frozen=True, gc=False):
    """A client of a group."""

    client: str
    users: int
    """Its users of this group."""
    state: MemberPhase
    """Ready members get users."""
    problem: str = ""
    """The reason why its target is not healthy; otherwise empty."""
    total: int = 0
    """Its users of this group since it has become a member."""
    refused: int = 0
    """Users whom its limits refused, because no other member took them."""

    @property
    def ready(self) -> bool:
        """True if it may get users."""
        return self.state == "ready"

    @property
    def healthy(self) -> bool:
        """True unless its last health checks have failed."""
        return not self.problem


class GroupState(Struct, frozen=True, gc=False):
    """A group of clients."""

    name: str
    balance: str
    """least, source or order."""
    health: str
    """The kind of its health checks, as in the configuration; empty without them."""
    health_interval: int
    """Seconds between two checks."""
    refusing: bool
    """True if users are refused because no client of the group takes them."""
    members: tuple[MemberState, ...]
    ports: tuple[PortState, ...]


class ServerState(Struct, frozen=True, tag="server", tag_field="side"):
    """The public end."""

    transport: str
    stopping: bool
    draining: bool
    """True while the administrator refuses new users."""
    session: SessionState
    relay: RelayState
    waiting: int
    """Users, of streams or of flows, without a carrier."""
    unanswered: int
    """Users who sent bytes into the tunnel and received none."""
    refusing: bool
    """True if users are refused because no client has been connected for a while."""
    limits: tuple[LimitState, ...]
    clients: tuple[ServedState, ...]
    groups: tuple[GroupState, ...]

    @property
    def ports(self) -> tuple[PortState, ...]:
        """The ports of all clients and groups."""
        own = tuple(port for client in self.clients for port in client.ports)
        return own + tuple(port for group in self.groups for port in group.ports)


class ClientState(Struct, frozen=True, tag="client", tag_field="side"):
    """The end behind the firewall."""

    transport: str
    stopping: bool
    draining: bool
    """True while the administrator refuses new users."""
    session: SessionState
    relay: RelayState
    pool_size: int
    """Idle tunnel connections that it keeps."""
    dialling: int
    """Targets that are being dialled."""
    allow_targets: tuple[str, ...]
    """Targets to which it connects users; none: all but Unix sockets."""
    targets: tuple[TargetState, ...]
    servers: tuple[DestinationState, ...]
    """The servers that it may use; their sessions together are ``session``."""
    others: TargetState
    """The targets without an entry of their own, together; without a name."""


State = ServerState | ClientState
