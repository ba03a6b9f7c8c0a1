"""A peer with extensions, as a handshake between two ends of this program makes it."""

from typing import Final

from backhaul.wire.peer import EXTENSIONS, Peer

EXTENDED: Final = Peer(features=EXTENSIONS)
