"""The one-byte signals of the control channel and of idle tunnel connections.

Values as Backhaul v0.7.2 speaks them. `HELLO` and `TICKET` are ours: they are only ever sent where a
v0.7.2 peer is known to ignore them, or to a peer that has said `HELLO` itself.
"""

from enum import IntEnum


class Signal(IntEnum):
    """A byte on the control channel, or the type byte of a framed string."""

    HEARTBEAT = 0  # server to client, every `heartbeat` seconds
    CHANNEL = 1  # in a handshake: "I am the control channel"; later: "open one more tunnel connection"
    PING = 2  # server to an idle tunnel connection
    CLOSED = 3  # "I am shutting down"
    TCP = 4  # a target header: a TCP stream follows
    UDP = 5  # a target header: UDP datagrams in a TCP stream follow
    RTT = 6  # server to client after the handshake; the client echoes it
    TICKET = 7  # ours: type of the frame that admits a tunnel connection
    HELLO = 0x48  # ours: "I am this program too", each time it is asked; v0.7.2's server acts on 3 and 6 only


TICKET_SIZE = 16  # bytes: 128 random bits can't be guessed within a control channel's life
