"""The settings of transports, and the limits of connections that have proved nothing yet."""

import functools
import secrets
from dataclasses import dataclass, field
from typing import Final

from backhaul.net.bridge import Bridges
from backhaul.net.listeners import Listeners, Opener
from backhaul.net.proxy import Proxy
from backhaul.net.sockets import SocketOptions
from backhaul.net.tls import ClientTls, ServerTls
from backhaul.wire import smux
from backhaul.wire.peer import EXTENSIONS, Feature

from .auth import PROTECTED_IF_POSSIBLE, Credentials, ForgetfulMemory, KnownServers, OwnTokens, Protection


@dataclass(frozen=True, kw_only=True, slots=True)
class GateLimits:
    """The limits of a gate: connections that have proved nothing yet, control channels, and visitors."""

    pending: int = 1024
    """Connections at a time."""
    pending_per_address: int = 256
    unproven_sessions: int = 1024
    """Sessions of tcpmux, admitted by their address alone, through which no target has answered yet."""
    handshake_timeout: float = 10.0
    """Seconds for the handshake of tcp, tcpmux and udp, and for the confirmation of a sealed one, as on the client."""
    head_timeout: float = 60.0
    """Seconds until the first byte inside TLS on ws, wss, wsmux and wssmux, and again for a request; nginx's."""
    handshake_share: float = 0.25
    """The part of the time for TLS handshakes with networks that have never proved themselves."""
    handshake_patience: float = 5.0
    """Seconds that a TLS handshake may wait for its next step."""
    visitors: int = 256
    """Connections at a time that the decoy serves."""
    visitors_per_address: int = 64
    keepalive_timeout: float = 65.0
    """Seconds that a visitor may stay without a request; from the nginx.conf that is shipped with nginx."""
    answer_timeout: float = 15.0
    """Seconds within which a client on HTTP answers a heartbeat; it answers at once."""
    late_answers: int = 64
    """Answers to clients without a session at a time, most of which leave at once."""
    answer_delay: float = 300.0
    """Seconds: the connections of a tunnel are silent for 15 at most, and no NAT is asked for more than this."""
    sign_of_life: float = 1.0
    """Seconds within which a connected client must answer when another one comes with its token."""
    neighbour: float = 0.5
    """Seconds for the first bytes of a client whose address a client of v0.7.2 has, too: one packet may be lost."""
    second_thought: float = 0.05
    """Seconds within which a client that returns to tcp, tcpmux or udp has begun its handshake."""
    send_timeout: float = 60.0  # seconds that a visitor may read nothing; nginx's
    lingering_timeout: float = 5.0  # seconds of silence in a body that is discarded; nginx's
    lingering_time: float = 30.0  # seconds for all of such a body; nginx's
    upstream_timeout: float = 60.0  # seconds for a connection to the website of a decoy, and for its silence; nginx's
    respite: float = 2.0
    """Seconds in which a network may leave 31 handshakes unconfirmed; after more it gets no answers for as long."""
    failures: int = 30
    """Failed proofs within ``failure_window`` that bar an address; a client that retries every 3 s makes 20."""
    failure_window: float = 60.0  # seconds
    longest_backoff: float = 60.0  # seconds
    changeover: float = 10.0
    """Seconds after a reload of one end in which it is no fault if the two do not fit, as on the client."""


DEFAULT_LIMITS: Final = GateLimits()


@dataclass(frozen=True, kw_only=True, slots=True)
class CarrierLimits:
    """The limits of admitted connections, which change in place."""

    channel_size: int
    """Idle tunnel connections, or sessions, at most."""
    mux_con: int = 8
    """Streams per session before another session is requested."""
    max_users: int = 10_000
    """Users of a connection that serves one after the other."""
    max_age: float = 3600.0
    """Seconds after which such a connection is closed when its user ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """The identity of a transport on the public end: a change needs a new gate and new carriers."""

    bind_host: str  # "" means every address
    bind_port: int
    credentials: Credentials
    tunnel_options: SocketOptions
    mux: smux.Settings = field(default_factory=smux.Settings)
    tls: ServerTls | None = None
    path: str = ""  # before /channel and /tunnel
    decoy: str = "404"  # or a directory, or the URL of a website
    features: frozenset[Feature] = EXTENSIONS
    """The features beyond v0.7.2 that this end offers to clients."""
    protection: Protection = PROTECTED_IF_POSSIBLE
    instance: bytes = field(default_factory=functools.partial(secrets.token_bytes, 16))
    """Tells this process, which has the sessions of all its transports, from other servers."""
    limits: GateLimits = DEFAULT_LIMITS
    listeners: Opener = field(default_factory=Listeners)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientSettings:
    """The identity of a transport on the client: a change needs a new door and new carriers."""

    remote_host: str
    remote_port: int
    tokens: OwnTokens
    tunnel_options: SocketOptions
    dial_timeout: float  # seconds
    handshake_timeout: float
    """Seconds for the handshake of tcp, tcpmux and udp."""
    upgrade_timeout: float
    """Seconds for TLS and the upgrade together."""
    leave: float
    """Seconds for which idle connections stay open after the control channel is lost, for users who are on their way.
    A server that has lost it closes them at once."""
    protection: Protection = PROTECTED_IF_POSSIBLE
    known: KnownServers = field(default_factory=ForgetfulMemory)
    instance: bytes = field(default_factory=functools.partial(secrets.token_bytes, 16))
    """Tells this tunnel's control channels from those of other clients with the same token."""
    host_header: str = ""  # remote_addr as configured
    remembered_as: str = ""
    """The name of the server in the memory of protected servers."""
    edge_ip: str = ""  # dialled in place of remote_host
    proxy: Proxy | None = None  # through which the server is dialled
    bridges: Bridges = field(default_factory=Bridges)  # to proxies over TLS; they outlive a door
    path: str = ""  # before /channel and /tunnel
    tls: ClientTls | None = None
    mux: smux.Settings = field(default_factory=smux.Settings)
    # Seconds for the first signal of servers of tcp and udp: it leaves with the handshake, but may be lost.
    greeting_grace: float = 20.0
    features: frozenset[Feature] = EXTENSIONS
    """The features beyond v0.7.2 that this end offers to servers."""
