"""Every key of both sides with type, limits, default and meaning. Keys of v0.7.2 keep its defaults.

A number 0 outside the limits of its key and an empty text mean "not set", as in v0.7.2.
"""

from typing import Annotated, Literal

from msgspec import Struct

from backhaul.wire.targets import MAX_PORT, names_path
from backhaul.wire.transports import TRANSPORTS, Transport, TransportName

from .address import Address, parse_bind, parse_edge, parse_page_host, parse_remote
from .keys import MUX, STREAM, TCP, TLS, WEB, key
from .messages import choices
from .ports import PortMapping, parse_ports
from .secret import Secret
from .values import (
    LOG_LEVELS,
    LogLevel,
    parse_allowed,
    parse_decoy,
    parse_fingerprint,
    parse_interface,
    parse_log_level,
    parse_token,
    parse_tokens,
    parse_url_path,
)

DEFAULT_TOKEN = Secret("musix")  # v0.7.2, cmd/defaults.go: used by an end without a token

MAX_KEEPALIVE = 32767  # seconds: MAX_TCP_KEEPIDLE of Linux, include/net/tcp.h
MIN_MSS = 88  # bytes: TCP_MIN_MSS of Linux, the least that TCP_MAXSEG accepts beside 0
MAX_MSS = 32767  # bytes: MAX_TCP_WINDOW of Linux, the most that TCP_MAXSEG accepts
MAX_FRAME = 65535  # bytes: a smux frame counts its payload in 16 bits
MAX_MARK = 2**32 - 1  # a mark has 32 bits
MAX_POOL = 65535  # connections from one source address to one server port

Metric = Literal["default", "prometheus"]
ProxyVersion = Literal["v1", "v2"]
Security = Literal["auto", "required", "legacy"]


class _Common(Struct, frozen=True, kw_only=True):
    """The keys of both sides."""

    transport: Annotated[
        TransportName,
        key("How tunnel connections travel; the same on both ends.", rebuild=True, example='"tcp"'),
    ]
    token: Annotated[
        Secret,
        key(
            "Shared secret, the same on both ends. Without it the well-known token of v0.7.2 is used.",
            rebuild=True,
            form="text in quotes, on one line",
            parse=parse_token,
            example='"a long random text"',
        ),
    ] = DEFAULT_TOKEN
    tokens: Annotated[
        tuple[Secret, ...],
        key(
            "In place of `token`, to change it without an interruption: a server accepts each of these, and a client "
            "tries them in order.",
            rebuild=True,
            form="a list of texts in quotes",
            parse=parse_tokens,
        ),
    ] = ()
    token_file: Annotated[
        str, key("In place of `token`: a file with a token, or several, one on each line.", rebuild=True)
    ] = ""
    security: Annotated[
        Security,
        key(
            'Prove the token without sending it: where the other end can ("auto"), always ("required"), or never, as '
            'v0.7.2 ("legacy"). See Security.',
            rebuild=True,
            example='"required"',
        ),
    ] = "auto"
    encryption: Annotated[
        bool,
        key(
            "Encrypt the data of users too; one end asks for both. Inside TLS only if that ends before the server.",
            rebuild=True,
            example="true",
        ),
    ] = False
    path: Annotated[
        str,
        key(
            "Prefix of the paths `/channel` and `/tunnel`, the same on both ends; v0.7.2 has none.",
            on=WEB,
            rebuild=True,
            form='a path such as "/app"',
            parse=parse_url_path,
        ),
    ] = ""
    keepalive_period: Annotated[
        int,
        key(
            "TCP keep-alive: silence before a probe, at most 15 s in the tunnel. No probes to 127.0.0.0/8 or ::1.",
            ge=1,
            le=MAX_KEEPALIVE,
            unit="seconds",
            rebuild=True,
        ),
    ] = 75
    nodelay: Annotated[
        bool,
        key(
            "Set TCP_NODELAY: lower latency, more packets. Sessions, and connections to targets, always have it.",
            on=STREAM,
            rebuild=True,
        ),
    ] = False
    mss: Annotated[
        int,
        key(
            f"TCP maximum segment size, {MIN_MSS} or more; 0 leaves it to the system.",
            ge=0,
            le=MAX_MSS,
            unit="bytes",
            on=STREAM,
            rebuild=True,
        ),
    ] = 0
    so_rcvbuf: Annotated[
        int, key("Socket receive buffer; 0 leaves it to the system.", ge=0, unit="bytes", on=TCP, rebuild=True)
    ] = 0
    so_sndbuf: Annotated[
        int, key("Socket send buffer; 0 leaves it to the system.", ge=0, unit="bytes", on=TCP, rebuild=True)
    ] = 0
    mux_session: Annotated[
        int, key("Accepted for old files; `connection_pool` sets the number of sessions.", ge=1, on=MUX)
    ] = 1
    mux_version: Annotated[int, key("Version of smux; the same on both ends.", ge=1, le=2, on=MUX, rebuild=True)] = 1
    mux_framesize: Annotated[
        int, key("Most payload in one smux frame.", ge=1, le=MAX_FRAME, unit="bytes", on=MUX, rebuild=True)
    ] = 32768
    mux_recievebuffer: Annotated[
        int,
        key(
            "Receive buffer of a session; with `mux_version = 2` streams may grow by as much again.",
            ge=1,
            unit="bytes",
            on=MUX,
            rebuild=True,
        ),
    ] = 4194304
    mux_streambuffer: Annotated[
        int,
        key(
            "Receive buffer a stream begins with; at most `mux_recievebuffer`.",
            ge=1,
            unit="bytes",
            on=MUX,
            rebuild=True,
        ),
    ] = 65536
    udp_timeout: Annotated[int, key("A UDP flow ends after this long without a datagram.", ge=1, unit="seconds")] = 60
    udp_max_flows: Annotated[int, key("Most UDP flows at a time.", ge=1)] = 4096
    half_close_timeout: Annotated[
        int,
        key(
            "Reset a connection that is closed one way and has been silent the other way for this long.",
            ge=1,
            unit="seconds",
            on=STREAM,
        ),
    ] = 3600
    skip_optz: Annotated[bool, key("Leave the kernel settings as they are; see Kernel settings.", restart=True)] = False
    sniffer: Annotated[bool, key("Keep a log of the traffic of each port.")] = False
    sniffer_log: Annotated[str, key("File of the traffic log.")] = "backhaul.json"
    web_port: Annotated[int, key("Port of the monitoring page; 0 turns it off.", ge=0, le=MAX_PORT)] = 0
    web_bind: Annotated[
        str,
        key(
            "Address of the monitoring page; `0.0.0.0` is all, of both families. `unix:/path` needs no `web_port`.",
            form="an IP address, a host name or unix:/path",
            parse=parse_page_host,
        ),
    ] = "0.0.0.0"
    web_user: Annotated[str, key("User name that the monitoring page asks for; empty: none.")] = ""
    web_password: Annotated[
        Secret,
        key("Password that goes with `web_user`.", form="text in quotes", parse=Secret, example='"a password"'),
    ] = Secret("")
    metrics: Annotated[
        tuple[Metric, ...],
        key('What the monitoring page offers: JSON ("default"), Prometheus. Empty: `["default"]`.'),
    ] = ("default",)
    pprof: Annotated[bool, key("Accepted for old files, without effect: the profiler of Go.")] = False
    log_level: Annotated[
        LogLevel,
        key("Least severity that is logged.", form=choices(LOG_LEVELS), parse=parse_log_level),
    ] = "info"
    log_format: Annotated[Literal["text", "json"], key("Form of the log lines.")] = "text"
    shutdown_timeout: Annotated[
        int, key("How long open connections may finish at a shutdown.", ge=0, unit="seconds")
    ] = 5
    accepted: tuple[Secret, ...] = (DEFAULT_TOKEN,)
    """The tokens in effect; not a key."""
    token_source: str = ""
    """The key or variable that holds them; not a key."""
    warnings: tuple[str, ...] = ()
    """Warnings of the loader about accepted settings; not a key."""

    @property
    def facts(self) -> Transport:
        """The facts about the transport."""
        return TRANSPORTS[self.transport]

    @property
    def page(self) -> Address | None:
        """The address of the monitoring page, or None if it is off."""
        page = parse_bind(self.web_bind) if names_path(self.web_bind) else Address(self.web_bind, self.web_port)
        return page if page.is_path or page.port else None


class ServerConfig(_Common, frozen=True, kw_only=True):
    """The table ``[server]``: the public side, which listens for users and for the tunnel."""

    bind_addr: Annotated[
        Address,
        key(
            "Where the tunnel listens.",
            rebuild=True,
            form='host:port or unix:/path, such as "0.0.0.0:3080"',
            parse=parse_bind,
            example='"0.0.0.0:3080"',
        ),
    ]
    ports: Annotated[
        tuple[PortMapping, ...],
        key("Local ports and their targets; see Port mappings.", form="a list of texts", parse=parse_ports),
    ] = ()
    accept_udp: Annotated[
        bool,
        key(
            "Listen for UDP too, on every port of `ports`. v0.7.2 supports this on tcp; the other transports need "
            "this program on both ends.",
            on=STREAM,
        ),
    ] = False
    proxy_protocol: Annotated[
        bool | ProxyVersion,
        key(
            "Send the target a PROXY protocol header. `true` is v2 on the transports where v0.7.2 sends one: "
            "tcp, tcpmux, wsmux and wssmux.",
            on=STREAM,
            form='true, false, "v1" or "v2"',
        ),
    ] = False
    offline: Annotated[
        Literal["refuse", "wait"],
        key(
            "Users while no client is connected: refused after 5 seconds (10 if the client announced its stop), "
            "or accepted, to wait for it."
        ),
    ] = "refuse"
    heartbeat: Annotated[int, key("Interval of the heartbeats on the control channel.", ge=1, unit="seconds")] = 40
    channel_size: Annotated[int, key("Most users that wait for a tunnel connection; others are refused.", ge=1)] = 2048
    mux_con: Annotated[int, key("Streams on a session before another session is opened.", ge=1, on=MUX)] = 8
    tls_cert: Annotated[
        str, key("Certificate chain (PEM file); mandatory on these transports.", on=TLS, rebuild=True)
    ] = ""
    tls_key: Annotated[str, key("Private key of `tls_cert` (PEM file); mandatory on these.", on=TLS, rebuild=True)] = ""
    decoy: Annotated[
        str,
        key(
            "What visitors without the token see: an error page, the files of a directory, or another website.",
            on=WEB,
            rebuild=True,
            form='"404", a directory or an http(s) URL',
            parse=parse_decoy,
        ),
    ] = "404"

    @property
    def proxy_version(self) -> ProxyVersion | None:
        """The version of the header sent to targets, or None for no header."""
        if isinstance(self.proxy_protocol, bool):
            return "v2" if self.proxy_protocol and self.facts.proxied_by_v072 else None
        return self.proxy_protocol


class ClientConfig(_Common, frozen=True, kw_only=True):
    """The table ``[client]``: the side behind NAT, which dials the server and the targets."""

    remote_addr: Annotated[
        Address,
        key(
            "The server's `bind_addr` as seen from here.",
            rebuild=True,
            form='host:port, such as "example.com:3080"',
            parse=parse_remote,
            example='"example.com:3080"',
        ),
    ]
    edge_ip: Annotated[
        str,
        key(
            "Dial this address instead of the host of `remote_addr`, which stays in Host and SNI (for CDNs).",
            on=WEB,
            rebuild=True,
            form="an IP address or a host name",
            parse=parse_edge,
        ),
    ] = ""
    bind_interface: Annotated[
        str,
        key(
            "Reach the server through this network interface only (SO_BINDTODEVICE). See The way to the server.",
            rebuild=True,
            form='the name of a network interface, such as "eth1"',
            parse=parse_interface,
        ),
    ] = ""
    mark: Annotated[
        int,
        key(
            "Mark what is sent to the server, for policy routing and firewalls (SO_MARK); 0: no mark.",
            ge=0,
            le=MAX_MARK,
            rebuild=True,
        ),
    ] = 0
    connection_pool: Annotated[int, key("Tunnel connections opened ahead of users.", ge=1, le=MAX_POOL)] = 8
    aggressive_pool: Annotated[bool, key("Grow the pool faster under load.")] = False
    dial_rate: Annotated[
        int,
        key(
            "Most tunnel connections opened a second, for networks that take a burst for an attack; 0: no limit.",
            ge=0,
        ),
    ] = 0
    allow_targets: Annotated[
        tuple[str, ...],
        key(
            "Targets to which the server may send users; empty: all but Unix sockets. See Allowed targets.",
            form='a list of texts such as "db.example:5432", "10.0.0.0/8:80-90" or ":22"',
            parse=parse_allowed,
            example='[":22"]',
        ),
    ] = ()
    retry_interval: Annotated[
        int,
        key(
            "First pause before the server is dialled again; each failure doubles it, up to a minute.",
            ge=1,
            unit="seconds",
        ),
    ] = 3
    dial_timeout: Annotated[int, key("Longest wait for a connection.", ge=1, unit="seconds", rebuild=True)] = 10
    tls_verify: Annotated[bool, key("Verify the server's certificate. v0.7.2 never does.", on=TLS, rebuild=True)] = (
        False
    )
    tls_ca: Annotated[str, key("Authorities to verify with (PEM file); empty: the system's.", on=TLS, rebuild=True)] = (
        ""
    )
    tls_server_name: Annotated[
        str, key("Name to send and to verify; empty: the host of `remote_addr`.", on=TLS, rebuild=True)
    ] = ""
    tls_fingerprint: Annotated[
        str,
        key(
            "Accept only the server certificate with this SHA-256 fingerprint.",
            on=TLS,
            rebuild=True,
            form="64 hexadecimal digits, colons allowed",
            parse=parse_fingerprint,
        ),
    ] = ""


Config = ServerConfig | ClientConfig
SIDES: dict[str, type[Config]] = {"server": ServerConfig, "client": ClientConfig}


def side_of(config: Config) -> str:
    """Return the name of the table that ``config`` was read from."""
    return next(side for side, schema in SIDES.items() if schema is type(config))
