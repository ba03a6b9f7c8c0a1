"""The one-byte signals of the control channel and of idle tunnel connections.

The values are those of Backhaul v0.7.2. ``HELLO`` and ``TICKET`` are extensions: they are sent only where a v0.7.2 peer
ignores them, or to a peer that has sent ``HELLO`` itself.
"""

from enum import IntEnum


class Signal(IntEnum):
    """A byte on the control channel, or the type byte of a framed string."""

    HEARTBEAT = 0  # server to client, every `heartbeat` seconds
    CHANNEL = 1  # in a handshake: this is the control channel; later: open one more tunnel connection
    PING = 2  # server to an idle tunnel connection
    CLOSED = 3  # from either end: it stops, or rebuilds its tunnel
    TCP = 4  # a target header: a TCP stream follows
    UDP = 5  # a target header: UDP datagrams in a TCP stream follow
    RTT = 6  # server to client after the handshake; the client echoes it
    TICKET = 7  # extension: type of the frame that admits a tunnel connection
    HELLO = 0x48  # extension: each end names its transport; the server of v0.7.2 acts on 3 and 6 only


TICKET_SIZE = 16  # bytes: 128 random bits can't be guessed in the life of a control channel
