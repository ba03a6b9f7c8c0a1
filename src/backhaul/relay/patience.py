"""Limits of time for bytes that may never come."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Limits in seconds; a relay reads them whenever it needs them, so that a reload can replace them."""

    half_close: float = 3600.0
    """Silence after which a connection with one ended direction is reset."""
    hold_back: float = 5.0
    """Silence for which the end of a user's direction is kept from a v0.7.2 peer, which takes it for the end of both.

    Long enough for a slow answer; short enough for a peer that waits for the end."""
    hold_back_answered: float = 1.0
    """The same after an answer: most of these users have closed. Held for longer, users who come and go by the hundred
    occupy places at both ends of the tunnel and at the target."""
    ping: float = 10.0
    """Interval at which idle tunnels of transport udp to a v0.7.2 client are pinged, which it ignores.

    Most NATs keep an address for as long as datagrams pass either way, many for 30 s only; the heartbeat is longer."""
    forgotten: float = 20.0
    """Silence of a v0.7.2 client after which a NAT may have forgotten the address of its tunnel on transport udp."""
    forgotten_reply: float = 3.0
    """Time for a sign of life from such a tunnel before its flow moves; DNS clients ask again after 5 s."""
    quiet: float = 25.0
    """Silence after which a WebSocket connection gets a ping: proxies close it after a minute (nginx), or 100 s (CDNs),
    and some NATs forget it after half a minute."""
    unread: float = 0.5
    """Time for which a session of smux may not be read before new users avoid it."""
    unsent: float = 2.0
    """Time for which nothing of what it sends may leave before they do: a slow line needs a while."""
    sweep: float = 1.0
    """Interval at which connections with one ended direction are looked at."""

    def before_end(self, *, said: int, answered: bool) -> float:
        """Return for how long the end of a user is kept from a v0.7.2 peer.

        ``said``: bytes that the user has sent: without any, nobody owes an answer. ``answered``: whether the last bytes
        before the end came from the target.
        """
        if not said:
            return 0.0
        return self.hold_back_answered if answered else self.hold_back
