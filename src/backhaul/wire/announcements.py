"""Datagrams about the tunnels of transport udp.

With v0.7.2 at either end, the client announces an idle tunnel with the bare token, and the server assigns it with the
bare target, once. It pings idle tunnels. Either datagram may be lost, repeated or overtaken, and a client whose address
has changed is lost as well. In a protected session these messages are sealed datagrams (``security/datagrams.py``)::

    client -> server   tunnel (8) | u64 number | padding                        at the beginning, and repeatedly
    server -> client   tunnel (8) | u64 number | u16 length | target | padding  until the client has confirmed it

``tunnel`` is random and names the tunnel wherever its datagrams come from. ``number`` is that of the assignment, by
which the client confirms it; 0 stands for an idle tunnel. It never occurs twice in a session, so neither do the keys
that are derived from it. The padding hides the length of the target.
"""

from struct import Struct
from typing import Final, NamedTuple

from .signals import Signal

PING: Final = bytes([Signal.PING])
TUNNEL_SIZE: Final = 8
IDLE: Final = 0
"""The number of a tunnel without an assignment."""
MAX_PADDING: Final = 48
BLOCK_BITS: Final = 20
"""Bits of a number that vary within a block, of which a session enters another one after a million messages."""

_NUMBER_SIZE: Final = 8

_ANNOUNCEMENT: Final = Struct("!8sQ")
_ASSIGNMENT: Final = Struct("!8sQH")

ANNOUNCEMENT_SIZES: Final = range(_ANNOUNCEMENT.size, _ANNOUNCEMENT.size + MAX_PADDING + 1)


class Announcement(NamedTuple):
    """A tunnel of the client, reachable at the source address of the datagram."""

    tunnel: bytes
    number: int


class Assignment(NamedTuple):
    """The target of the flow to which the server gives a tunnel."""

    tunnel: bytes
    number: int
    target: str


def block_of(datagram: bytes | memoryview) -> int:
    """Return the block of numbers that a sealed message lies in.

    Each session masks its numbers in its own way (``security/datagrams.py``), so no other session has the same block.
    """
    return int.from_bytes(datagram[:_NUMBER_SIZE]) >> BLOCK_BITS


def announce(announcement: Announcement, padding: int) -> bytes:
    """Return an announcement with ``padding`` bytes of padding, at most ``MAX_PADDING``."""
    return _ANNOUNCEMENT.pack(*announcement) + bytes(padding)


def read_announcement(message: bytes) -> Announcement | None:
    """Return the announcement in an authentic message; None if it is malformed."""
    return Announcement(*_ANNOUNCEMENT.unpack_from(message)) if len(message) in ANNOUNCEMENT_SIZES else None


def assign(assignment: Assignment, padding: int) -> bytes:
    """Return an assignment with ``padding`` bytes of padding, at most ``MAX_PADDING``."""
    target = assignment.target.encode()
    return _ASSIGNMENT.pack(assignment.tunnel, assignment.number, len(target)) + target + bytes(padding)


def read_assignment(message: bytes) -> Assignment | None:
    """Return the assignment in an authentic message; None if it is malformed."""
    if len(message) < _ASSIGNMENT.size:
        return None
    tunnel, number, length = _ASSIGNMENT.unpack_from(message)
    target = message[_ASSIGNMENT.size :][:length]
    if len(target) < length:
        return None
    return Assignment(tunnel, number, str(target, "utf-8", "replace"))


def assignment_sizes(target: str) -> range:
    """Return the sizes that assignments of ``target`` have."""
    least = _ASSIGNMENT.size + len(target.encode())
    return range(least, least + MAX_PADDING + 1)
