"""Mistakes in the bytes of a session, apart from the seals: clear sessions load no cryptography."""

from typing import Final

from backhaul.wire.peer import Peer
from backhaul.wire.smux import FloodError, SmuxError

MISMATCHED: Final = "both ends need the same transport and mux_version"
"""The remedy of a session whose ends do not fit."""


class AlteredError(SmuxError):
    """The session can't go on, because bytes of the peer were altered, lost or repeated on their way."""


def remedy_for(error: SmuxError, peer: Peer) -> str:
    """Return the remedy for a session that a mistake in the peer's bytes has ended."""
    if isinstance(error, FloodError):
        return "the program at its other end is faulty or hostile"
    if isinstance(error, AlteredError) or peer.extended:  # a handshake has compared transports and versions
        return "something between both ends alters their bytes"
    return MISMATCHED
