"""A connection between both ends, as gates and doors pass it on."""

import socket
from typing import NamedTuple

from backhaul.wire.peer import Peer


class Connection(NamedTuple):
    """A tunnel connection after its handshake; the holder of this object owns the socket."""

    sock: socket.socket
    peer: Peer
    received: bytes = b""
    """The bytes after the handshake that have been read already."""
