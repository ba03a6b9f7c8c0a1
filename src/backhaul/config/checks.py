"""Rules that involve several keys, and checks that the files named by keys exist."""

from collections.abc import Iterator
from socket import SOCK_DGRAM, SOCK_STREAM

from backhaul.certificates import load_authorities, load_certificates, load_pair, objection
from backhaul.networks import read_networks
from backhaul.reading import read_file

from . import claims
from .address import EVERY, Address, EveryAddress
from .common import MIN_MSS
from .errors import ConfigError
from .kinds import kinds_of
from .messages import brief, no_path, unreadable
from .ports import overlap
from .proxied_ports import by_port
from .schema import Config, ServerConfig

_MAKE_PAIR = "backhaul cert --name HOST --out DIR"


def problems(config: Config) -> Iterator[str]:
    """Yield ``key: mistake; remedy`` for each mistake that one key alone does not show."""
    yield from _sizes(config)
    yield from _web(config)
    if config.encryption and config.security == "legacy":
        yield 'encryption: needs security = "auto" or "required"'
    if config.udp_copies > 1 and config.facts.datagrams and not config.encryption:
        yield "udp_copies: needs encryption = true, by which the other end knows a copy; set it, or remove udp_copies"
    if "\0" in config.sniffer_log:
        yield "sniffer_log: no file can have this name; correct the path"
    if isinstance(config, ServerConfig):
        yield from claims.problems(config)
        for owner in config.owners:
            yield from _taken_ports(config, owner)
        yield from _taken_page(config)
        yield from _proxied(config)
        yield from _streams_on_udp(config)
        yield from _certificate(config)
        for name, path in config.every_limit.files.items():
            yield from _unreadable(name, path)
        return
    if config.proxy and config.facts.datagrams:
        yield "proxy: transport udp can't pass a proxy; use another transport, or remove proxy"
    if config.facts.tls and config.tls_ca:
        yield from _unreadable("tls_ca", config.tls_ca)
    if config.edge_ip and config.facts.http and isinstance(config.remote_addr, EveryAddress):
        yield f"edge_ip: {config.remote_addr} already names every address to dial; remove edge_ip, or {EVERY}"


def unusable(config: Config) -> Iterator[str]:
    """Yield ``key: mistake; remedy`` for files that are readable but not usable.

    This is not part of ``problems``: a reload may find certificates half renewed, and then the old ones stay in use.
    A long list of networks is not read twice by a reload.
    """
    yield from wrong_page_files(config)
    if isinstance(config, ServerConfig):
        yield from wrong_lists(config)
    if not config.facts.tls:
        return
    if isinstance(config, ServerConfig):
        yield from wrong_pair("tls", config.tls_cert, config.tls_key)
    elif config.tls_ca:
        yield from _wrong_authorities(config.tls_ca)


def wrong_pair(keys: str, cert: str, key: str) -> Iterator[str]:
    """Yield a mistake if a certificate and its key are not usable; the names of both keys begin with ``keys``."""
    import ssl  # noqa: PLC0415 - most transports do without

    try:
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert, key)
    except OSError as error:  # ssl.SSLError is one
        yield f"{keys}_cert: unusable with {keys}_key: {objection(error)}"


def wrong_page_files(config: Config) -> Iterator[str]:
    """Yield a mistake for each file of the page's TLS that is not usable."""
    if "web_cert" in config.page_files:
        yield from wrong_pair("web", config.web_cert, config.web_key)
    if "web_client_ca" in config.page_files:
        yield from _wrong_client_authorities(config.web_client_ca)


def wrong_lists(config: ServerConfig) -> Iterator[str]:
    """Yield a mistake for each file of networks that is not usable."""
    for name, path in config.every_limit.files.items():
        try:
            read_networks(path)
        except OSError as error:
            yield f"{name}: {unreadable(path, error)}"
        except ValueError as error:
            yield f"{name}: {brief(path)}: {error}"


def _wrong_authorities(file: str) -> Iterator[str]:
    import ssl  # noqa: PLC0415

    try:
        load_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), file)
    except OSError as error:
        yield f"tls_ca: holds no certificates ({error}); name a PEM file of the authorities"


def _wrong_client_authorities(file: str) -> Iterator[str]:
    import ssl  # noqa: PLC0415

    try:
        load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), file)
    except OSError as error:
        yield f"web_client_ca: {error}; name a PEM file of the authorities that issue client certificates"


def _sizes(config: Config) -> Iterator[str]:
    if config.facts.mux and config.mux_streambuffer > config.mux_recievebuffer:
        yield (
            f"mux_streambuffer: expected at most mux_recievebuffer ({config.mux_recievebuffer}), "
            f"got {config.mux_streambuffer}; a session's buffer holds those of its streams"
        )
    if 0 < config.mss < MIN_MSS:
        yield f"mss: expected 0 (the system's) or at least {MIN_MSS} bytes, got {config.mss}"


def _web(config: Config) -> Iterator[str]:
    if config.web_user and not config.web_password:
        yield "web_password: missing; web_user needs one, or remove web_user"
    if config.web_password and not config.web_user:
        yield "web_user: missing; web_password needs one, or remove web_password"
    if config.web_cert and not config.web_key:
        yield "web_key: missing; web_cert needs one, or remove web_cert"
    if config.web_key and not config.web_cert:
        yield "web_cert: missing; web_key needs one, or remove web_key"
    if config.web_client_ca and not config.web_cert:
        yield "web_client_ca: needs web_cert and web_key, because only TLS has certificates; add them, or remove it"
    for name, file in config.page_files.items():
        yield from _unreadable(name, file)


def _taken_ports(config: ServerConfig, owner: claims.Owner) -> Iterator[str]:
    """Yield clashes between the tunnel and the users' ports."""
    bind, kinds = config.bind_addr, kinds_of(config)
    own = {SOCK_STREAM, SOCK_DGRAM} if config.facts.datagrams else {SOCK_STREAM}
    ports = [mapping for mapping in owner.ports if own & kinds.of(mapping)]
    if any(mapping.bind_port == bind.port and _clash(mapping.address, bind) for mapping in ports):
        yield f"{owner.table}ports: {bind.spot} is taken by bind_addr {bind}; choose another for one of them"


def _taken_page(config: ServerConfig) -> Iterator[str]:
    """Yield clashes of the monitoring page with the tunnel and the users' ports."""
    bind, page = config.bind_addr, config.page
    if not page:
        return
    key = "web_bind" if page.is_path else "web_port"
    if _clash(page, bind):
        yield f"{key}: {page.spot} is taken by bind_addr {bind}; choose another for one of them"
    kinds = kinds_of(config)
    streams = [mapping for mapping in config.all_ports if SOCK_STREAM in kinds.of(mapping)]
    if any(mapping.bind_port == page.port and _clash(mapping.address, page) for mapping in streams):
        yield f"{key}: {page.spot} is listed in ports too; choose another for one of them"


def _clash(one: Address, other: Address) -> bool:
    if one.is_path or other.is_path:
        return one == other
    return one.port == other.port and overlap(one.host, other.host)


def _streams_on_udp(config: ServerConfig) -> Iterator[str]:
    """Yield ports for TCP and Unix sockets on transport udp, which carries datagrams only."""
    if not config.facts.datagrams:
        return
    if config.bind_addr.is_path:
        yield f"bind_addr: transport udp can't use {config.bind_addr}; name a host and a port, or use another transport"
    for mapping in config.all_ports:
        if mapping.protocol and not mapping.takes_datagrams:
            yield f"ports: transport udp can't carry TCP for {mapping.bind}; remove /tcp, or use another transport"
        elif not mapping.takes_datagrams:
            path = mapping.target if mapping.leads_to_path else mapping.bind
            yield f"ports: transport udp can't use {path}; name a port, or use another transport"


def _proxied(config: ServerConfig) -> Iterator[str]:
    if isinstance(config.proxy_protocol, dict):
        try:
            by_port(config.proxy_protocol)
        except ConfigError as mistakes:
            yield from (f"proxy_protocol.{problem}" for problem in mistakes.problems)


def _certificate(config: ServerConfig) -> Iterator[str]:
    if not config.facts.tls:
        return
    for name, path in (("tls_cert", config.tls_cert), ("tls_key", config.tls_key)):
        if path:
            yield from _unreadable(name, path)
        else:
            yield f"{name}: missing, transport {config.transport} needs it; `{_MAKE_PAIR}` makes a pair"


def _unreadable(name: str, path: str) -> Iterator[str]:
    if objection := no_path(path):
        yield f"{name}: {objection}"
        return
    try:
        read_file(path, 0)
    except OSError as error:
        yield f"{name}: {unreadable(path, error)}"
    except ValueError:  # a NUL character
        yield f"{name}: no file can have this name; correct the path"
