"""The time limits of both ends."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Time limits in seconds; tests pass shorter ones."""

    user_patience: float = 3.0
    """The time that a user waits for a carrier, as in v0.7.2."""
    flow_patience: float = 3.0
    """The same for a flow of datagrams."""
    longest_wait: float = 20.0
    """The longest time that users wait on a slow line, or while others get carriers: a dial of wss on a line with a
    round trip of 5 s."""
    answer: float = 5.0
    """The time after which a user who leaves has waited for an answer, and not just given up early."""
    absence: float = 5.0
    """The time without a client after which the users' ports refuse connections."""
    restart: float = 10.0
    """The same for a client that announced its stop, and the patience of users meanwhile: most such clients restart."""
    quiet: float = 1.0
    """The time without a new user after which a stop serves no more of them."""
    handshakes: float = 0.3
    """The time for running TCP handshakes when another process takes over: a round trip to distant users."""
    first_carrier: float = 45.0
    """The time until the first suitable tunnel connection. A session of v0.7.2 is silent for its first 20 s."""
    first_proof: float = 20.0
    """The same after a protected handshake: such connections prove themselves when they arrive. One that is lost on a
    bad line is dialled again after some seconds, and UDP tunnels are announced every 5 s."""
    release_pauses: tuple[float, ...] = (0.05,)
    """The pauses between attempts to listen for the client while the previous process still does."""
    reopen_pauses: tuple[float, ...] = (1, 2, 4, 8, 16, 30)
    """The pauses between attempts to listen after a failure; the last one is repeated without end."""
    certificate: float = 5.0
    """The interval of checks for changed files of the certificate."""
    lists: float = 1.0
    """The interval of checks for changed files of networks."""
    expiry: float = 1.0
    """The shortest interval of looks for users who have stayed too long."""
    quota: float = 2.0
    """The interval of looks at the bytes that users have moved."""
    quota_store: float = 60.0
    """The interval in which these are stored."""
    look: float = 1.0
    """The client's interval of looks at its pool, and at the silence of the server."""
    refill_pauses: tuple[float, ...] = (1, 2, 4, 8, 16, 30)
    """The client's pauses before it replaces idle tunnel connections after failures; the last one is repeated."""
    beats: float = 1.4
    """The silence in heartbeats after which a client gives the server up: one may be late, and 56 s is less than a
    minute."""
    silence: float = 20.0
    """The shortest silence for that, because a busy machine may send late."""
    doubt: float = 0.8
    """The share of that silence after which the server is asked; it has the rest to answer."""
    nap: float = 5.0
    """The time without a look that shows that this machine has slept. Its address and that of its NAT may be new."""
    ask: float = 10.0
    """The silence of a protected server after which a client asks for a sign of life, or up to 30 % sooner."""
    ask_in_use: float = 2.5
    """The same while there are users, and for ``recent`` seconds after the last one came: others may wait in vain."""
    recent: float = 60.0
    """See ``ask_in_use``."""
    suspicion: float = 1.5
    """The time for a server's sign of life when it is asked because the line may be dead; twice that of the slowest
    answer, if that is longer. It is short, because users wait, and a wrong guess costs only a handshake."""
    beside: float = 3.0
    """The time for an answer on another connection if there is none on the control channel. In 3 seconds a SYN is sent
    twice (RFC 6298: after 1 and 3 seconds), so on a line that comes back the next one is a second away."""
    asked_beside: int = 10
    """The number of such connections that are tried before a control channel without an answer is given up: after that
    the kernel gives up, too, and until then they find a line that comes back sooner than attempts to connect, which
    last longer. One is enough for a client that has other servers."""
    urgent: float = 1.0
    """The longest pause between attempts to connect while users wait in such sessions, which end after a while."""
    silence_unasked: float = 300.0
    """The same for a server that can't be asked for a sign of life: an administrator may have set any heartbeat."""
    names: float = 30.0
    """The interval of look-ups of a name that stands for all of its addresses."""
    stable: float = 60.0
    """The time for which an earlier server stays connected before the client leaves those after it."""
    replacement: float = 600.0
    """The time for which a client keeps its former tunnel after a reload while the new one can't be connected."""
    measure: float = 20.0
    """The pause between two measurements of each server, if the best one is wanted."""
    last_bytes: float = 1.0
    """The time at the end of the process for the other ends of all connections to read the last bytes."""
    changeover: float = 10.0
    """The time after a stop or reload of one end in which it is no error if the two do not fit."""
    settle: float = 1.0
    """The time at a stop for the server to close its idle connections: a round trip and some."""
    leave: float = 3.0
    """The time for which a client leaves idle connections to the server when their control channel is lost."""
    handshake: float = 10.0
    """The time for the client's handshake on tcp, tcpmux and udp: v0.7.2 allows 2 s, but a full line takes longer."""
    upgrade: float = 15.0
    """The same for TLS and the upgrade on the other transports, which are two round trips with TLS 1.3."""


DEFAULT_TIMINGS: Final = Timings()
