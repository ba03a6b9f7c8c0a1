"""The one-byte signals of the control channel and of idle tunnel connections.

The values up to 6 are those of Backhaul v0.7.2. The others are sent in sealed records only, as their kinds.
"""

from enum import IntEnum


class Signal(IntEnum):
    """A byte on the control channel, the type byte of a framed string, or the kind of a sealed record."""

    HEARTBEAT = 0  # server to client, every `heartbeat` seconds
    CHANNEL = 1  # in a handshake: this is the control channel; later: open one more tunnel connection
    PING = 2  # server to an idle tunnel connection
    CLOSED = 3  # from either end: it stops; towards v0.7.2 also in place of MOVED
    TCP = 4  # a target header: a TCP stream follows
    UDP = 5  # a target header: UDP datagrams in a TCP stream follow
    RTT = 6  # server to client after the handshake; the client echoes it
    PROBE = 7  # sealed, from either end: a request for ANSWER; the client's first one confirms its handshake
    ANSWER = 8  # sealed: the answer to PROBE
    REFUSED = 9  # sealed, client to server: it does not dial a target; a Refusal follows
    CHECK = 10  # sealed, server to client: it shall check the health of a target; a Check follows
    HEALTH = 11  # sealed, client to server: the outcome of a check; a Health follows
    MOVED = 12  # sealed, from either end: it goes on without this control channel, and keeps its sessions
    ENDED = 13  # sealed, client to server: it has ended a session; the session's identity follows
    REPLACED = 14  # sealed, server to client: another client with the token has taken its place
    RENEWED = 15  # sealed, server to client: the same client has opened another control channel
    UNREACHED = 16  # sealed, server to client: none of its tunnel connections has arrived
    REACHED = 17  # sealed, server to client: one has
