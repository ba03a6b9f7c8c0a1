"""Datagrams about the tunnels of transport udp.

With v0.7.2 at either end, the client announces an idle tunnel with the bare token, and the server assigns it with the
bare target, once. It pings idle tunnels. Either datagram may be lost, repeated or overtaken, and a client whose address
has changed is lost as well. With this program at both ends, the datagrams begin with the ticket of the control channel:

    client -> server   ticket (16) | tunnel (8) | 0: idle, 1: assigned      at the beginning, and repeatedly
    server -> client   ticket (16) | target                                 until the client has confirmed it

``tunnel`` is random and names the tunnel wherever its datagrams come from.
"""

import hmac
from typing import NamedTuple

from .signals import TICKET_SIZE, Signal

PING = bytes([Signal.PING])
TUNNEL_SIZE = 8  # bytes: random, so that no payload of a user is ever taken for an announcement
ANNOUNCEMENT_SIZE = TICKET_SIZE + TUNNEL_SIZE + 1


class Announcement(NamedTuple):
    """A tunnel of the client, reachable at the source address of the datagram."""

    tunnel: bytes
    assigned: bool


def announce(ticket: bytes, announcement: Announcement) -> bytes:
    """Return the datagram that announces a tunnel to a server with extensions."""
    return ticket + announcement.tunnel + bytes([announcement.assigned])


def read_announcement(ticket: bytes, datagram: bytes | memoryview) -> Announcement | None:
    """Return the announcement in ``datagram``; None if it is something else, or has another ticket than ``ticket``."""
    if not ticket or len(datagram) != ANNOUNCEMENT_SIZE or not hmac.compare_digest(datagram[:TICKET_SIZE], ticket):
        return None
    return Announcement(bytes(datagram[TICKET_SIZE:-1]), bool(datagram[-1]))


def announces(tunnel: bytes, datagram: bytes | memoryview) -> bool:
    """Return whether this announces ``tunnel``, even with an older ticket; False for any payload of a user."""
    return len(datagram) == ANNOUNCEMENT_SIZE and datagram[TICKET_SIZE:-1] == tunnel


def assign(ticket: bytes, target: str) -> bytes:
    """Return the datagram that assigns a tunnel to a flow; ``ticket`` is empty towards v0.7.2."""
    return ticket + target.encode()


def read_assignment(ticket: bytes, datagram: bytes | memoryview) -> str | None:
    """Return the target that ``datagram`` assigns to an idle tunnel; None if it does not.

    Without a ticket (v0.7.2) everything but a ping counts as a target.
    """
    if ticket and not hmac.compare_digest(datagram[:TICKET_SIZE], ticket):
        return None
    if not ticket and datagram == PING:
        return None
    return str(datagram[len(ticket) :], "utf-8", "replace")
