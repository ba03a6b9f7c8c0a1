"""Reasons and remedies for settings of the other programs that this one lacks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from backhaul.config.messages import few

from .draft import NOTHING, Gap
from .table import Table

Reasons = Mapping[str, tuple[str, str]]
"""Reason and remedy by the name of a setting, or of a group of settings."""

RANDOM: Final = ("no port is chosen at random", "choose one, and add it to ports")
NO_SOCKS: Final = ("no SOCKS server", "run one beside the client and publish its port")
_UNKNOWN: Final = ("no counterpart", "check whether the tunnel needs it")
_GROUP: Final = ("groups share ports of TCP", "see Groups of clients in docs/configuration.md")
_HEALTH: Final = (
    "targets are checked in groups only",
    "probe the service itself; `backhaul status` counts the users it refuses",
)
_DOMAIN: Final = (
    "users are not told apart by host names",
    "publish it on a port of the server's 127.0.0.1, and let a web server there choose by name",
)
_VISITOR: Final = (
    "users need no program of their own",
    'publish the port on the server ("127.0.0.1:PORT=TARGET" for users on that machine alone)',
)
_OWN_CONFIRMATION: Final = ("every connection proves itself", NOTHING)
_PACE: Final = ("`heartbeat` of the server sets the pace for both ends", NOTHING)

FRP: Final[Reasons] = {
    "auth.additionalScopes": _OWN_CONFIRMATION,
    "auth.method": ("tokens only", "give both ends a token"),
    "auth.oidc": ("tokens only", "give both ends a token"),
    "auth.tokenSource": ("tokens come from a key, a file or the environment", "name the file with token_file"),
    "clientID": ("the token tells which client connects", NOTHING),
    "dnsServer": ("names are looked up as the system does", "set the server in /etc/resolv.conf"),
    "featureGates": ("no counterpart", NOTHING),
    "includes": ("the named files are not read", "convert each of them, or put their proxies into this file first"),
    "log": ("log lines go to standard error", "let the service manager keep them"),
    "loginFailExit": ("a client dials until the server answers", NOTHING),
    "metadatas": ("no counterpart", NOTHING),
    "natHoleStunServer": ("all users travel through the server", NOTHING),
    "transport.connectServerInterface": ("no automatic choice", "name an interface with bind_interface"),
    "transport.connectServerLocalIP": ("the system chooses the source", "name an interface with bind_interface"),
    "transport.heartbeatInterval": _PACE,
    "transport.heartbeatTimeout": _PACE,
    "transport.proxyURL": ("proxies are http, https, socks5 and socks5h", "name one of these with proxy"),
    "transport.quic": ("no transport of this program uses QUIC", NOTHING),
    "transport.tcpMuxKeepaliveInterval": ("sessions look after themselves", NOTHING),
    "transport.tls": ("the token proves the server too, without a certificate", NOTHING),
    "udpPacketSize": ("datagrams have any size", NOTHING),
    "user": ("proxies have no names here", NOTHING),
    "virtualNet": ("ports are carried, not networks", "run WireGuard through the tunnel"),
    "visitors": _VISITOR,
    "webServer": ("the page and its files are those of this program", NOTHING),
    # of the server
    "allowPorts": ("the server alone decides on ports", NOTHING),
    "allowedClientIPs": ("a client is admitted by its token", "let the firewall choose the addresses"),
    "custom404Page": ("a decoy answers with nginx's page, or with a website", "see decoy"),
    "detailedErrorsToClient": ("reasons are in the log of both ends", NOTHING),
    "httpPlugins": ("no plugins on the way", "read `on_event` or the access log instead"),
    "kcpBindPort": ("no transport of this program uses KCP", NOTHING),
    "maxPortsPerClient": ("the server alone decides on ports", NOTHING),
    "natholeAnalysisDataReserveHours": ("all users travel through the server", NOTHING),
    "quicBindPort": ("no transport of this program uses QUIC", NOTHING),
    "sshTunnelGateway": ("clients are this program or v0.7.2", "convert the `ssh -R` command line"),
    "subDomainHost": _DOMAIN,
    "tcpmuxHTTPConnectPort": _DOMAIN,
    "tcpmuxPassthrough": _DOMAIN,
    "transport.maxPoolCount": ("`connection_pool` of the client decides", NOTHING),
    "userConnTimeout": ("users wait 3 seconds for a connection", NOTHING),
    "vhost": _DOMAIN,
    # of a proxy
    "annotations": ("no counterpart", NOTHING),
    "customDomains": _DOMAIN,
    "healthCheck": _HEALTH,
    "loadBalancer": _GROUP,
    "plugin": ("the client has no servers of its own", "run such a server beside the client and publish its port"),
    "transport.bandwidthLimit": ("expected a rate such as 1MB or 512KB", "set rate in [server.limits]"),
    "transport.bandwidthLimitMode": ("rates hold on the server", NOTHING),
    "transport.useCompression": ("users' bytes are not compressed", "let the service compress"),
    "type": ("types are tcp and udp", NOTHING),
}

RATHOLE: Final[Reasons] = {
    "heartbeat_timeout": _PACE,
    "nodelay": ("`nodelay` holds for all connections", "set it below [server] and [client]"),
    "retry_interval": ("`retry_interval` holds for the client", NOTHING),
    "token": ("one token proves the whole client", NOTHING),
    "transport.noise": ("the token proves both ends", NOTHING),
    "transport.tcp.keepalive_interval": ("probes follow each other after 15 seconds at most", NOTHING),
    "transport.tcp.proxy": ("proxies are http, https, socks5 and socks5h", "name one of these with proxy"),
    "transport.tls": ("the token proves the server too, without a certificate", NOTHING),
}

_TUNES_ITSELF: Final = ("the program looks after its buffers and workers", NOTHING)

PREMIUM: Final[Reasons] = {
    "accept_udp": _TUNES_ITSELF,
    "mux.mux_concurrency": ("`mux_con` of the server decides", NOTHING),
    "ports.forwarder": ("the server forwards all ports itself", NOTHING),
    "security": ("the token proves both ends, which agree on a cipher", NOTHING),
    "tls.sni": ("`tls_server_name` of the client decides", NOTHING),
    "transport.heartbeat": _PACE,
    "tun.": ("ports are carried, not networks", "run WireGuard through the tunnel if users need a network"),
    "tuning": _TUNES_ITSELF,
}


def gaps(table: Table, reasons: Reasons) -> Iterator[Gap]:
    """Yield a gap for each setting left over in a table; settings of one group share theirs."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in table.left_over():
        groups[_group(name, reasons)].append(name)
    for group, names in groups.items():
        reason, remedy = reasons.get(group, _UNKNOWN)
        yield Gap(table.key(few(names)), reason, remedy)


def _group(name: str, reasons: Reasons) -> str:
    """Return the longest entry that begins the name; the name itself if there is none."""
    return max((entry for entry in reasons if name.startswith(entry)), key=len, default=name)
