"""The client's watch over its sessions, with sessions and a clock that the test moves."""

import contextlib
import logging
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from backhaul.net.log_throttle import LogThrottle
from backhaul.relay.patience import Patience
from backhaul.transports.carriers.watch import Cause, Watch

from .clock import Loop
from .net import HOST

PATIENCE = Patience().unacknowledged


@dataclass
class Limits:
    """The limits of a connection; 0 is none."""

    max_age: float = 0
    max_bytes: int = 0


@dataclass(eq=False)
class Session:
    """A session, which the test moves; its mark ``paused`` is that of its smux session."""

    conn: socket.socket
    kept: bool = True
    parked: bool = False
    closed: bool = False
    paused: bool = False
    unacknowledged: int = 0
    signs: int = 5
    sent: int = 700
    received: int = 300
    carried: tuple[int, int] = (0, 0)
    streams: int = 0
    asked: int = 0

    @property
    def session(self) -> "Session":
        return self

    def __len__(self) -> int:
        return self.streams

    def ask(self) -> None:
        self.asked += 1


@dataclass
class Stand:
    """A watch and what it wants; ``server`` is the other end of the connection."""

    link: Session
    server: socket.socket
    loop: Loop = field(default_factory=Loop)
    resumption: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)
    complaints: LogThrottle = field(default_factory=lambda: LogThrottle(logging.getLogger("backhaul.mux")))
    wants: list[Cause] = field(default_factory=list)

    def __post_init__(self) -> None:
        resources: Any = self
        self.watch = Watch(resources, lambda _, cause: self.wants.append(cause))

    def reconnect(self) -> None:
        """Give the session another connection, which the watch sees at its next look."""
        for sock in (self.link.conn, self.server):
            sock.close()
        self.link.conn, self.server = connection()
        self.loop.run_for(self.patience.look)

    def begin(self) -> None:
        link: Any = self.link
        self.watch.add(link)

    def wanted(self, seconds: float) -> set[Cause]:
        """Return what the watch wants within some seconds."""
        self.wants.clear()
        self.loop.run_for(seconds)
        return set(self.wants)


def until_readable(sock: socket.socket) -> None:
    """Wait until there is something to read."""
    assert select.select([sock], [], [], PATIENCE)[0]


def connection() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection."""
    with socket.create_server((HOST, 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far = listener.accept()[0]
    near.setblocking(False)
    return near, far


@contextlib.contextmanager
def standing() -> Iterator[Stand]:
    """Provide a watch over one session."""
    near, far = connection()
    stand = Stand(Session(near), far)
    stand.begin()
    yield stand
    for sock in (stand.link.conn, stand.server):
        sock.close()
