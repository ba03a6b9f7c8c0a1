"""What both ends of transport udp say about tunnels, in datagrams of their own.

To v0.7.2, and from it: the client announces an idle tunnel with the bare token, the server assigns it with the bare
target, once, and pings idle ones. Either datagram may be lost, repeated or overtaken, and a client whose address
changed is lost too. Between two of ours, who share a ticket since their control channel was opened:

    client -> server   ticket (16) | tunnel (8) | 0: idle, 1: assigned      at the beginning, and again and again
    server -> client   ticket (16) | target                                 until the client has confirmed it

`tunnel` is random and tells the tunnels apart wherever their datagrams come from.
"""

import hmac
from typing import NamedTuple

from .signals import TICKET_SIZE, Signal

PING = bytes([Signal.PING])
TUNNEL_SIZE = 8  # bytes: random, so that no payload of a user is ever taken for an announcement
ANNOUNCEMENT_SIZE = TICKET_SIZE + TUNNEL_SIZE + 1


class Announcement(NamedTuple):
    """A client says that a tunnel lives at the address that this came from."""

    tunnel: bytes
    assigned: bool


def announce(ticket: bytes, announcement: Announcement) -> bytes:
    """Return the datagram that says so to a server of ours."""
    return ticket + announcement.tunnel + bytes([announcement.assigned])


def read_announcement(ticket: bytes, datagram: bytes | memoryview) -> Announcement | None:
    """Return what `datagram` announces; None if it is something else, or if `ticket` is empty or another."""
    if not ticket or len(datagram) != ANNOUNCEMENT_SIZE or not hmac.compare_digest(datagram[:TICKET_SIZE], ticket):
        return None
    return Announcement(bytes(datagram[TICKET_SIZE:-1]), bool(datagram[-1]))


def announces(tunnel: bytes, datagram: bytes | memoryview) -> bool:
    """Whether this is an announcement of `tunnel`, even with an older ticket; never true for a user's payload."""
    return len(datagram) == ANNOUNCEMENT_SIZE and datagram[TICKET_SIZE:-1] == tunnel


def assign(ticket: bytes, target: str) -> bytes:
    """Return the datagram that assigns a tunnel to a flow; `ticket` is empty towards v0.7.2."""
    return ticket + target.encode()


def read_assignment(ticket: bytes, datagram: bytes | memoryview) -> str | None:
    """Return the target that `datagram` assigns to an idle tunnel; None if it does not.

    Without a ticket (v0.7.2) whatever is no ping has to be taken for a target.
    """
    if ticket and not hmac.compare_digest(datagram[:TICKET_SIZE], ticket):
        return None
    if not ticket and datagram == PING:
        return None
    return str(datagram[len(ticket) :], "utf-8", "replace")
