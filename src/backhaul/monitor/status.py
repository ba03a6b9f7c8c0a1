"""What the monitor is told about the tunnel: plain numbers and texts, taken at one moment."""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

Side = Literal["server", "client"]
NO_CLIENT: Final = "no client"
"""The problem of a port that would be up if a client were connected."""
OTHERS: Final = "(others)"
"""The target of a client's entry for all targets that no longer have one of their own."""


class PortStatus(Struct, frozen=True, gc=False):
    """One port of the server, or one target of the client. All counters start at 0 with the program."""

    port: int
    """The server's local port; on the client the port of the target. 0: a Unix socket."""
    bind: str
    """The local address of the server's port, or the path of a Unix socket; empty on the client."""
    target: str
    """Where its users are sent, as the configuration says it."""
    open: int
    """Connections open now."""
    total: int
    """Connections accepted so far, the open ones included."""
    refused: int
    """Connections turned away before they reached the tunnel."""
    dropped: int
    """Connections accepted and then given up, because the tunnel or the target failed."""
    target_refused: int
    """Connections that the target reset before it had sent a byte, as seen by the server; on the client 0."""
    received: int
    """Bytes that came from users."""
    sent: int
    """Bytes that went to users."""
    udp_flows: int
    """UDP flows alive now."""
    udp_dropped: int
    """Datagrams thrown away."""
    up: bool
    """Whether the port takes users; always on the client."""
    problem: str
    """Why it takes none; empty while it is up."""

    @property
    def name(self) -> str:
        """Address and number of the server's port."""
        if self.bind.startswith("/"):
            return f"unix:{self.bind}"
        host = f"[{self.bind}]" if ":" in self.bind else self.bind or "*"
        return f"{host}:{self.port}"


class Event(Struct, frozen=True, gc=False):
    """One line of the log."""

    time: float
    """Seconds since 1970, UTC."""
    level: str
    """Python's name of the level in lower case: "info", "warning", "error", "critical"."""
    text: str
    """One line; control characters are escaped, nothing else is."""


class Status(Struct, frozen=True, gc=False):
    """One end of the tunnel at one moment."""

    side: Side
    transport: str
    stopping: bool
    """Whether the program is on its way out: another one that runs the same file may take over."""
    connected: bool
    peer: str
    """Address of the other end; empty while there is none."""
    problem: str
    """Why the tunnel can't be connected, as far as this end knows; else empty."""
    rtt: float | None
    """Round-trip time of the control channel in seconds; None: not measured."""
    reconnects: int
    """How often the tunnel came back after it had been lost."""
    unanswered: int
    """Users who sent something into the tunnel and got nothing back, as seen by the server; on the client 0."""
    pool_idle: int
    """Connections waiting for a user."""
    pool_size: int | None
    """Connections the pool aims at; None: this side has no say in it."""
    sessions: int
    streams: int
    flows: int
    """UDP flows of all ports."""
    started: float
    """When the program started, in seconds since 1970, UTC."""
    ports: tuple[PortStatus, ...]
    events: tuple[Event, ...]
    """The last lines of the log, the newest at the end."""
    version: str


Read = Callable[[], Status]
"""Gives the present status; called in the event loop's thread, and quick."""
