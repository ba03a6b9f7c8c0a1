"""A connection between both ends, as gates and doors pass it on."""

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backhaul.wire.peer import Peer

if TYPE_CHECKING:
    from backhaul.security.records import Seals


@dataclass(slots=True)
class Connection:
    """A tunnel connection after its handshake; the holder of this object owns the socket."""

    sock: socket.socket
    peer: Peer
    received: bytes = b""
    """The bytes after the handshake that have been read already."""


@dataclass(slots=True, kw_only=True)
class SealedConnection(Connection):
    """A tunnel connection that has proved possession of the session's keys; its peer has extensions."""

    seals: "Seals"
    """The keys of this connection. Announcements of targets are sealed, and payload if ``seals.payload``."""
