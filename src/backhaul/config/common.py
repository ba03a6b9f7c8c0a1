"""The keys that both sides have; ``schema.py`` has those of one side."""

from typing import Annotated, Literal

from msgspec import Struct

from backhaul.wire.targets import MAX_PORT, names_path
from backhaul.wire.transports import TRANSPORTS, Transport, TransportName

from .address import Address, parse_bind, parse_page_host
from .events import parse_on_event
from .keys import MUX, STREAM, TCP, UDP, WEB, key
from .messages import choices
from .secret import Secret
from .values import LOG_LEVELS, LogLevel, parse_log_level, parse_token, parse_tokens, parse_url_path

DEFAULT_TOKEN = Secret("musix")  # v0.7.2, cmd/defaults.go: used by an end without a token

MAX_KEEPALIVE = 32767  # seconds: MAX_TCP_KEEPIDLE of Linux, include/net/tcp.h
MIN_MSS = 88  # bytes: TCP_MIN_MSS of Linux, the least that TCP_MAXSEG accepts beside 0
MAX_MSS = 32767  # bytes: MAX_TCP_WINDOW of Linux, the most that TCP_MAXSEG accepts
MAX_COPIES = 4  # on a line that loses half of the datagrams, a sixteenth remains lost
MAX_FRAME = 65535  # bytes: a smux frame counts its payload in 16 bits

Metric = Literal["default", "prometheus"]
Security = Literal["auto", "required", "legacy"]


class CommonConfig(Struct, frozen=True, kw_only=True):
    """The keys of both sides."""

    transport: Annotated[
        TransportName,
        key("How tunnel connections travel; the same on both ends.", rebuild=True, example='"tcp"'),
    ]
    token: Annotated[
        Secret,
        key(
            "Shared secret, the same on both ends. Without it the well-known token of v0.7.2 is used.",
            protects=True,
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
            protects=True,
            form="a list of texts in quotes",
            parse=parse_tokens,
        ),
    ] = ()
    token_file: Annotated[
        str, key("In place of `token`: a file with a token, or several, one on each line.", protects=True)
    ] = ""
    security: Annotated[
        Security,
        key(
            'Prove the token without sending it: where the other end can ("auto"), always ("required"), or never, as '
            'v0.7.2 ("legacy"). See Security.',
            protects=True,
            example='"required"',
        ),
    ] = "auto"
    encryption: Annotated[
        bool,
        key(
            "Encrypt the data of users, too; one end asks for both. Inside TLS only if TLS ends before the server.",
            protects=True,
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
            "Silence before a probe: of TCP keep-alive, at most 15 s in the tunnel, and none to 127.0.0.0/8 or ::1; of "
            "WebSockets, at most 25 s; of sessions, at most 20 s.",
            ge=1,
            le=MAX_KEEPALIVE,
            unit="seconds",
            rebuild=True,
        ),
    ] = 75
    nodelay: Annotated[
        bool,
        key(
            "Set TCP_NODELAY on tunnel connections with v0.7.2: lower latency, more packets. Sessions, protected "
            "tunnel connections, those over TLS, users and targets always have it.",
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
    mux_version: Annotated[
        int,
        key(
            'Version of smux, the same on both ends. It counts with v0.7.2 only, and with `security = "legacy"`.',
            ge=1,
            le=2,
            on=MUX,
            rebuild=True,
        ),
    ] = 1
    mux_framesize: Annotated[
        int,
        key(
            "Maximum payload of a smux frame. Two ends of this program send larger ones, unless it is below the "
            "default.",
            ge=1,
            le=MAX_FRAME,
            unit="bytes",
            on=MUX,
            rebuild=True,
        ),
    ] = 32768
    mux_recievebuffer: Annotated[
        int,
        key(
            "Receive buffer of a session; windows of streams may grow by as much again, in protected sessions with "
            "default buffers by twice as much.",
            ge=1,
            unit="bytes",
            on=MUX,
            rebuild=True,
        ),
    ] = 4194304
    mux_streambuffer: Annotated[
        int,
        key(
            "Initial receive buffer of a stream; at most `mux_recievebuffer`. In protected sessions the default is "
            "256 KiB.",
            ge=1,
            unit="bytes",
            on=MUX,
            rebuild=True,
        ),
    ] = 65536
    resume_timeout: Annotated[
        int,
        key(
            "How long a session that has lost its connection, and its users, wait for another one; 0: not at all. The "
            "other end must run this program, and not have 0 either. It costs about a tenth more CPU time in bulk.",
            ge=0,
            unit="seconds",
            on=MUX,
            rebuild=True,
        ),
    ] = 60
    resume_memory: Annotated[
        int,
        key(
            "Maximum memory for bytes of sessions that the other end has not acknowledged yet. It is lowered to an "
            "eighth of the process's memory, or less below 128.",
            ge=1,
            unit="megabytes",
            on=MUX,
        ),
    ] = 64
    udp_timeout: Annotated[int, key("A UDP flow ends after this long without a datagram.", ge=1, unit="seconds")] = 60
    udp_copies: Annotated[
        int,
        key(
            "How often each datagram is sent, for lines that lose some. Copies follow at intervals of 10 ms, and the "
            "other end uses the first that arrives. Needs `encryption = true`, which numbers datagrams.",
            ge=1,
            le=MAX_COPIES,
            on=UDP,
        ),
    ] = 1
    udp_max_flows: Annotated[int, key("Maximum number of UDP flows at a time.", ge=1)] = 4096
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
            "Address of the monitoring page; `0.0.0.0` means all, of both families. `unix:/path` needs no `web_port`.",
            form="an IP address, a host name or unix:/path",
            parse=parse_page_host,
        ),
    ] = "0.0.0.0"
    web_user: Annotated[str, key("User name that the monitoring page asks for; empty: none.")] = ""
    web_password: Annotated[
        Secret,
        key("Password that goes with `web_user`.", form="text in quotes", parse=Secret, example='"a password"'),
    ] = Secret("")
    web_cert: Annotated[str, key("Certificate chain (PEM file): the page is served over TLS; needs `web_key`.")] = ""
    web_key: Annotated[str, key("Private key of `web_cert` (PEM file).")] = ""
    web_client_ca: Annotated[
        str,
        key(
            "Authorities (PEM file): a client certificate from one of them counts as a login; needs `web_cert`. See "
            "monitoring.md.",
        ),
    ] = ""
    metrics: Annotated[
        tuple[Metric, ...],
        key('What the monitoring page offers: JSON ("default"), Prometheus. Empty: `["default"]`.'),
    ] = ("default",)
    pprof: Annotated[bool, key("Accepted for old files, without effect: Go's profiler.")] = False
    log_level: Annotated[
        LogLevel,
        key("Lowest severity that is logged.", form=choices(LOG_LEVELS), parse=parse_log_level),
    ] = "info"
    log_format: Annotated[Literal["text", "json"], key("Format of the log lines.")] = "text"
    on_event: Annotated[
        Secret,
        key(
            "A command that reads each event as JSON, or a URL that gets it with POST; empty: none. See operating.md.",
            form='a command such as "/usr/local/bin/told --quiet" or an http(s) URL',
            parse=parse_on_event,
            example='"/usr/local/bin/told"',
        ),
    ] = Secret("")
    shutdown_timeout: Annotated[
        int, key("Time for open connections to finish at a shutdown.", ge=0, unit="seconds")
    ] = 5
    accepted: tuple[Secret, ...] = (DEFAULT_TOKEN,)
    """The tokens in effect; none on a server whose clients all have a name. Not a key."""
    token_source: str = ""
    """The key or variable that holds them; not a key."""
    warnings: tuple[str, ...] = ()
    """Warnings of the loader about accepted settings; not a key."""

    @property
    def facts(self) -> Transport:
        """The facts about the transport."""
        return TRANSPORTS[self.transport]

    @property
    def page_files(self) -> dict[str, str]:
        """The files of the page's TLS by their keys; none without a page."""
        named = {"web_cert": self.web_cert, "web_key": self.web_key, "web_client_ca": self.web_client_ca}
        return {name: file for name, file in named.items() if file and self.page}

    @property
    def page(self) -> Address | None:
        """The address of the monitoring page, or None if it is off."""
        page = parse_bind(self.web_bind) if names_path(self.web_bind) else Address(self.web_bind, self.web_port)
        return page if page.is_path or page.port else None
