"""Limits of time for bytes that may never arrive."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Limits in seconds; a relay reads them each time, so a reload can replace them."""

    half_close: float = 3600.0
    """Silence after which a connection with one ended direction is reset."""
    hold_back: float = 5.0
    """Silence for which the end of a user's direction is held back from a v0.7.2 peer, which would end both.

    Long enough for a slow answer; short enough for a peer that waits for the end."""
    hold_back_answered: float = 1.0
    """The same after an answer: most of these users have closed. If hundreds of users come and go, longer holds would
    occupy places on both ends of the tunnel and at the target."""
    ping: float = 10.0
    """Interval of pings on idle tunnels of transport udp to a v0.7.2 client, which ignores them.

    A NAT keeps an address while datagrams pass; many do so for 30 s only, and the heartbeat is slower."""
    silent_flow: float = 10.0
    """Without a datagram, until a flow on transport udp may lose its descriptors to a new one."""
    announce: float = 5.0
    """Interval at which a client announces its tunnels of transport udp to a server with extensions. That reveals a NAT
    that has changed its address, and keeps its mappings (RFC 4787, REQ-5: 2 minutes at least; many NATs allow 30 s)."""
    unannounced: float = 30.0
    """Time without any announcement of a connected client after which UDP counts as blocked: six of them are lost."""
    unheard: float = 0.25
    """Time after an announcement until another one of a tunnel through which the target sends and the server does not:
    the server may send to an address that a NAT has replaced."""
    sign_of_life: float = 10.0
    """Time for which a user may send through such a tunnel without a sign of life from the client. After that the
    client's address has changed, or the client is another."""
    sign_of_life_v072: float = 60.0
    """The same after an answer of the target: v0.7.2 sends nothing by itself, and the target may be silent."""
    replaced: float = 1.0
    """The same after another process of the client has connected, or a v0.7.2 client again: the tunnels of before have
    probably ended with their process, and users of games and calls notice each second."""
    forgotten: float = 20.0
    """Silence of a v0.7.2 client after which a NAT may have forgotten the address of its tunnel on transport udp."""
    forgotten_reply: float = 3.0
    """Time for a sign of life from such a tunnel before its flow moves; DNS clients ask again after 5 s."""
    quiet: float = 25.0
    """Silence after which a WebSocket connection is pinged. Proxies close it after a minute (nginx) or 100 s (CDNs),
    and some NATs forget it after half a minute."""
    keepalive: float = 75.0
    """The same as configured, for proxies and NATs that allow less."""
    cut: float = 1.0
    """Silence before the end of an idle connection that may be the time-out of a proxy or NAT."""
    unread: float = 0.5
    """Time for which a smux session may remain unread before new users avoid it."""
    unsent: float = 2.0
    """Time for which none of a session's bytes may leave before new users avoid it: a slow line needs a while."""
    soon: float = 0.005
    """Time within which a full connection of a session takes everything if it counts as fast: 128 KiB at 200 Mbit/s.
    On slower ones streams send small pieces, which take up to 15 % more CPU time (wssmux, 8 streams)."""
    request: float = 1.0
    """Time for a client to open a requested connection, until another one is requested; a slow line has longer. A user
    waits three times as long."""
    answered: float = 3.0
    """Time after a sign of life for which users may share full sessions of a client that does not open another one."""
    unused: float = 10.0
    """Time without a user after which a session beyond the client's pool may be closed."""
    alive: float = 10.0
    """Time for which an idle connection counts as alive. A user of an older one, which a NAT may have forgotten, may be
    lost, but not the next one: another connection is requested at once."""
    dead: float = 10.0
    """Time for the peer's kernel to acknowledge a repetition or probe on a connection whose control channel was lost,
    after there is another: a round trip of a very slow line, and one that is lost."""
    acknowledge: float = 0.1
    """Time after which received bytes of a session that can be resumed are acknowledged, if they are few."""
    unacknowledged: float = 2.0
    """Time for which the other end may acknowledge nothing until another connection is tried beside the present one;
    four round trips if those are longer."""
    sign: float = 0.5
    """Interval of acknowledgements while an end reads nothing of a session, because a user or target does not."""
    ahead: float = 3.0
    """Time until a connection that was dialled ahead for a session, and not needed, is closed; a server waits for
    ``resume``."""
    resume: float = 10.0
    """Time for a connection that resumes a session, from its admission to the answer of the server."""
    again: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0, 2.0, 5.0)
    """Pauses before the attempts to resume a session on one control channel; the last one is repeated."""
    asked: float = 30.0
    """Time for which a proxy may ask at most, before the next attempt to resume a session; as for other connections."""
    late: float = 0.005
    """Time for which the last frame of a user may wait for other frames of its session to leave with: the target has
    ended before, and at a few hundred users per second another one follows within it."""
    look: float = 0.5
    """The client's interval of looks at its sessions, for those that need another connection."""
    sweep: float = 1.0
    """Interval between two looks at the connections with one ended direction."""

    @property
    def silence(self) -> float:
        """The silence after which a WebSocket connection is pinged."""
        return min(self.quiet, self.keepalive)

    def before_end(self, *, sent: int, answered: bool) -> float:
        """Return the seconds for which the end of a user is held back from a v0.7.2 peer.

        ``sent`` is the number of bytes that the user has sent; without any there is no answer to wait for. ``answered``
        is true if the last bytes before the end came from the target.
        """
        if not sent:
            return 0.0
        return self.hold_back_answered if answered else self.hold_back


DEFAULT_PATIENCE: Final = Patience()
