"""Every key of either side with type, limits, default and meaning. Keys of v0.7.2 keep its defaults.

A number 0 outside the limits of its key and an empty text mean "not set", as in v0.7.2.
"""

from typing import Annotated, Any, Literal

from msgspec import structs

from backhaul.net.proxy import Proxy

from .address import Address, ServiceAddress, parse_bind, parse_edge, parse_host, parse_remote
from .clients import ClientTables, ServedClient, parse_clients
from .common import CommonConfig
from .groups import GroupTables, ServedGroup, parse_groups
from .keys import DEDICATED, MUX, STREAM, TLS, WEB, key
from .limits import NO_LIMITS, LimitTables, parse_limits
from .ports import PORTS_KEY, PortMapping
from .proxied_ports import Proxied, ProxyVersion, by_port
from .proxy import parse_proxy
from .secret import Secret
from .servers import ServerTable, parse_servers
from .values import ALLOWED, parse_access_log, parse_allowed, parse_decoy, parse_fingerprint, parse_interface

MAX_MARK = 2**32 - 1  # a mark has 32 bits
MAX_POOL = 65535  # connections from one source address to one server port


class ServerConfig(CommonConfig, frozen=True, kw_only=True):
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
    ports: Annotated[tuple[PortMapping, ...], PORTS_KEY] = ()
    accept_udp: Annotated[
        bool,
        key(
            "Listen for UDP too, on every port of `ports` without a protocol. v0.7.2 supports this on tcp; the other "
            "transports need this program on both ends.",
            on=STREAM,
        ),
    ] = False
    proxy_protocol: Annotated[
        bool | ProxyVersion | dict[str, Any],
        key(
            "Send the target a PROXY protocol header; a table names the ports. `true` is v2 on the transports where "
            "v0.7.2 sends one: tcp, tcpmux, wsmux and wssmux.",
            on=STREAM,
            form='true, false, "v1", "v2" or a table such as {443 = "v2"}',
        ),
    ] = False
    access_log: Annotated[
        str,
        key(
            "Destination of a line for each user who has left; empty: none. See operating.md.",
            form='"stdout", "journal" or the full path of a file',
            parse=parse_access_log,
        ),
    ] = ""
    access_log_format: Annotated[Literal["json", "text"], key("Format of these lines.")] = "json"
    access_log_size: Annotated[
        int, key("Size at which the file is renamed, and a new one begins; 0: never.", ge=0, unit="megabytes")
    ] = 100
    offline: Annotated[
        Literal["refuse", "wait"],
        key(
            "While no client is connected, refuse users after 5 seconds (10 if the client announced its stop), "
            "or accept them to wait for it."
        ),
    ] = "refuse"
    clients: Annotated[
        ClientTables,
        key(
            "Clients with tokens and ports of their own; see Several clients.",
            form="tables [server.clients.NAME]",
            parse=parse_clients,
        ),
    ] = ClientTables()
    groups: Annotated[
        GroupTables,
        key(
            "Ports that several clients serve together; see Groups of clients.",
            form="tables [server.groups.NAME]",
            parse=parse_groups,
            on=STREAM,
        ),
    ] = GroupTables()
    limits: Annotated[
        LimitTables, key("Limits of users; see Limits of users.", form="a table [server.limits]", parse=parse_limits)
    ] = LimitTables()
    heartbeat: Annotated[int, key("Interval of the heartbeats on the control channel.", ge=1, unit="seconds")] = 40
    channel_size: Annotated[
        int, key("Maximum number of users that wait for a tunnel connection; others are refused.", ge=1)
    ] = 2048
    connection_max_users: Annotated[
        int,
        key(
            "Maximum number of users of a tunnel connection, one after the other; 1: each has its own.",
            ge=1,
            on=DEDICATED,
        ),
    ] = 10_000
    connection_max_age: Annotated[
        int,
        key(
            "Age at which such a connection is replaced, once its user has left.",
            ge=1,
            unit="seconds",
            on=DEDICATED,
        ),
    ] = 3600
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
    def unnamed(self) -> ServedClient:
        """The client without a table of its own, even if it has no token."""
        return ServedClient(accepted=self.accepted, ports=self.ports)

    @property
    def every_limit(self) -> LimitTables:
        """The limits of ``limits``, and those of the clients that have some."""
        limits = ((client.name, client.limits) for client in self.clients.named)
        return structs.replace(self.limits, clients=tuple(one for one in limits if one[1] != NO_LIMITS))

    @property
    def served(self) -> tuple[ServedClient, ...]:
        """All clients; the one without a name is among them if it has a token, as it has without named ones."""
        return (self.unnamed, *self.clients.named) if self.accepted else self.clients.named

    @property
    def owners(self) -> tuple[ServedClient | ServedGroup, ...]:
        """All clients and groups, each of which may have ports."""
        return (self.unnamed, *self.clients.named, *self.groups.named)

    @property
    def all_ports(self) -> tuple[PortMapping, ...]:
        """The ports of all clients and groups."""
        return tuple(mapping for owner in self.owners for mapping in owner.ports)

    @property
    def bind_hosts(self) -> set[str]:
        """The hosts of all listening sockets."""
        return {self.bind_addr.host, *(mapping.bind_host for mapping in self.all_ports)}

    def serves_alike(self, other: "ServerConfig") -> bool:
        """Return whether clients that are in both configurations, and the same there, are served in the same way."""
        nobody = ServedClient()
        return self.of(nobody) == other.of(nobody)

    def of(self, client: ServedClient) -> "ServerConfig":
        """Return the configuration of the tunnel of one client."""
        alone = {"clients": ClientTables(), "groups": GroupTables()}
        return structs.replace(self, ports=client.ports, accepted=client.accepted, **alone)

    @property
    def proxied(self) -> Proxied:
        """The headers sent to targets."""
        match self.proxy_protocol:
            case bool(wanted):
                return Proxied("v2" if wanted and self.facts.proxied_by_v072 else None)
            case dict(table):
                return Proxied(None, by_port(table))
            case version:
                return Proxied(version)


class ClientConfig(CommonConfig, frozen=True, kw_only=True):
    """The table ``[client]``: the side behind NAT, which dials the server and the targets."""

    remote_addr: Annotated[
        Address,
        key(
            "The server's `bind_addr` as seen from here.",
            rebuild=True,
            form='host:port, such as "example.com:3080", "all:name:port" or "all:_service._tcp.name"',
            parse=parse_remote,
            example='"example.com:3080"',
        ),
    ]
    servers: Annotated[
        tuple[ServerTable, ...],
        key(
            "More servers, each with `addr` in place of `remote_addr`, and keys that differ. See Several servers.",
            form='a list of tables such as {addr = "b.example:8443", transport = "wssmux"}',
            parse=parse_servers,
        ),
    ] = ()
    servers_mode: Annotated[
        Literal["order", "best", "all"],
        key("The servers in use: the first that works, the best, or all. See Several servers."),
    ] = "order"
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
    proxy: Annotated[
        Secret,
        key(
            'Dial the server through a proxy. "environment": the one that HTTPS_PROXY or ALL_PROXY names, if any. See '
            "The way to the server.",
            on=STREAM,
            protects=True,
            form='"environment" or a URL such as "http://user:password@host:port", "https://…", "socks5://…", "socks5h://…"',
            parse=parse_proxy,
        ),
    ] = Secret("")
    bind_interface: Annotated[
        str,
        key(
            "Reach the server through this network interface only (SO_BINDTODEVICE). See The way to the server.",
            protects=True,
            form='the name of a network interface, such as "eth1"',
            parse=parse_interface,
        ),
    ] = ""
    mark: Annotated[
        int,
        key(
            "Mark packets to the server, for policy routing and firewalls (SO_MARK); 0: no mark.",
            ge=0,
            le=MAX_MARK,
            protects=True,
        ),
    ] = 0
    connection_pool: Annotated[int, key("Tunnel connections opened ahead of users.", ge=1, le=MAX_POOL)] = 8
    aggressive_pool: Annotated[bool, key("Grow the pool faster under load.")] = False
    dial_rate: Annotated[
        int,
        key(
            "Maximum number of tunnel connections opened a second, for networks that take a burst for an attack; "
            "0: no limit.",
            ge=0,
        ),
    ] = 0
    allow_targets: Annotated[
        tuple[str, ...],
        key(
            "Targets to which the server may send users; empty: all but Unix sockets. See Allowed targets.",
            form=ALLOWED,
            parse=parse_allowed,
            example='[":22"]',
        ),
    ] = ()
    retry_interval: Annotated[
        int,
        key(
            "First pause before the server is dialled again. Each failure doubles it, up to a minute, or up to 6 "
            "seconds in the first 60 attempts after a connection that worked.",
            ge=1,
            unit="seconds",
        ),
    ] = 3
    mux_max_age: Annotated[
        int,
        key(
            "Age at which the connection of a session is replaced, 20 % sooner or later; users don't notice. 0: never.",
            ge=0,
            unit="seconds",
            on=MUX,
        ),
    ] = 0
    mux_max_bytes: Annotated[
        int,
        key(
            "Megabytes, in both directions, after which the connection of a session is replaced; 0: never.",
            ge=0,
            unit="megabytes",
            on=MUX,
        ),
    ] = 0
    dial_timeout: Annotated[int, key("Longest wait for a connection.", ge=1, unit="seconds", rebuild=True)] = 10
    tls_verify: Annotated[bool, key("Verify the server's certificate. v0.7.2 never does.", on=TLS, protects=True)] = (
        False
    )
    tls_ca: Annotated[
        str, key("Authorities to verify with (PEM file); empty: the system's.", on=TLS, protects=True)
    ] = ""
    tls_server_name: Annotated[
        str,
        key(
            "Name to send and to verify; empty: the host of `remote_addr`.",
            on=TLS,
            protects=True,
            form="an IP address or a host name",
            parse=parse_host,
        ),
    ] = ""
    tls_fingerprint: Annotated[
        str,
        key(
            "Accept only the server certificate with this SHA-256 fingerprint.",
            on=TLS,
            protects=True,
            form="64 hexadecimal digits, colons allowed",
            parse=parse_fingerprint,
        ),
    ] = ""
    way: Proxy | None = None
    """The proxy that is dialled, if any; not a key."""
    others: tuple["ClientConfig", ...] = ()
    """The configuration of each of ``servers``; not a key."""

    service: str = ""
    """The name whose SRV records have led to this server, if any; not a key."""

    @property
    def remembered_as(self) -> str:
        """The name of the server in the memory of protected servers, which no answer of DNS changes."""
        remote = self.remote_addr
        return self.service or (remote.host if isinstance(remote, ServiceAddress) else str(remote.unscoped))

    def at(self, address: Address) -> "ClientConfig":
        """Return the configuration for one of the servers for which ``remote_addr`` stands."""
        remote = self.remote_addr
        if not isinstance(remote, ServiceAddress):
            return structs.replace(self, remote_addr=Address(remote.host, remote.port))
        name = self.tls_server_name or remote.name_of(address.host)
        return structs.replace(self, remote_addr=address, service=remote.host, tls_server_name=name)

    @property
    def doors(self) -> tuple["ClientConfig", ...]:
        """The configuration of each server, that of ``remote_addr`` first."""
        return self, *self.others

    @property
    def dialled(self) -> Address:
        """The address of the server, or of the edge in front of it."""
        return Address(
            self.edge_ip if self.facts.http and self.edge_ip else self.remote_addr.host, self.remote_addr.port
        )


Config = ServerConfig | ClientConfig
SIDES: dict[str, type[Config]] = {"server": ServerConfig, "client": ClientConfig}


def side_of(config: Config) -> str:
    """Return the name of the table that ``config`` was read from."""
    return next(side for side, schema in SIDES.items() if schema is type(config))


def doors_of(config: Config) -> tuple[ClientConfig, ...]:
    """Return the configuration of each server of a client; a server has none."""
    return config.doors if isinstance(config, ClientConfig) else ()


def certificates_of(config: Config) -> tuple[str, ...]:
    """Return the files of certificates that this end shows: that of the tunnel, and that of the page."""
    found = (certificate_of(config), config.page_files.get("web_cert", ""))
    return tuple(dict.fromkeys(filter(None, found)))


def certificate_of(config: Config) -> str:
    """Return the file of a server's certificate; empty without one."""
    return config.tls_cert if isinstance(config, ServerConfig) and config.facts.tls else ""
