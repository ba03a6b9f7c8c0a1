"""Parsers of hosts, ports and ``host:port`` texts."""

import re

from msgspec import Struct

from backhaul.wire.targets import LOOPBACK, MAX_PORT, UNIX_PREFIX, names_path, parse_ip, path_problem

_MAX_NAME, _MAX_LABEL = 253, 63  # characters of a host name, and between its dots (RFC 1035, 2.3.4)

# Letters of any script (a resolver encodes them), and "_" because container networks use it in names.
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*\.?")

EVERY = "all:"
"""The beginning of a text that stands for every address of a name, or for every server of a service."""

_SERVICE = re.compile(r"_[\w-]+\._[\w-]+\.(?P<domain>.+)")  # RFC 2782

_SCHEME = re.compile(r"\w+://", re.ASCII)


class Address(Struct, frozen=True):
    """An address to listen on or to dial.

    ``host`` is "" for all interfaces and carries no brackets, or is the path of a Unix socket, which has port 0.
    """

    host: str
    port: int

    @property
    def is_path(self) -> bool:
        """True if this is a Unix socket."""
        return self.host.startswith("/")

    @property
    def spot(self) -> str:
        """The path, or the port without the host."""
        return str(self) if self.is_path else f"port {self.port}"

    @property
    def unscoped(self) -> "Address":
        """The address without the interface of a link-local one, which has no meaning on other hosts (RFC 6874)."""
        return Address(self.host.partition("%")[0], self.port)

    def __str__(self) -> str:
        if self.is_path:
            return UNIX_PREFIX + self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class EveryAddress(Address, frozen=True):
    """Every address of a name, each a server of its own."""

    def __str__(self) -> str:
        return f"{EVERY}{super().__str__()}"


class ServiceAddress(EveryAddress, frozen=True):
    """Every server that the SRV records of a name list, each with a port of its own."""

    @property
    def domain(self) -> str:
        """The domain that offers the service."""
        found = _SERVICE.fullmatch(self.host)
        return found["domain"] if found else self.host

    def name_of(self, host: str) -> str:
        """Return the name by which the certificate of a server is verified.

        That is the server's own name only within the domain, because answers of DNS prove nothing.
        """
        inside = f".{host}".lower().endswith(f".{self.domain}".lower().rstrip("."))
        return host if inside else self.domain

    def __str__(self) -> str:
        return f"{EVERY}{self.host}"


def parse_bind(text: str) -> Address:
    """Read ``host:port``, ``[v6]:port``, ``:port`` (all interfaces) or ``unix:/path``; raise ValueError otherwise."""
    if names_path(text):
        return Address(parse_path(text), 0)
    host, port = split_host_port(text)
    if host:
        parse_host(host)
    return Address(host, parse_port(port))


def parse_remote(text: str) -> Address:
    """Read ``host:port``, ``[v6]:port``, ``:port`` (this machine), ``all:name:port`` or ``all:_service._tcp.name``.

    Raises ValueError otherwise.
    """
    if text.startswith(EVERY) and ((rest := text.removeprefix(EVERY)).startswith("_") or ":" in rest):
        return _parse_every(rest) if ":" in rest else _parse_service(rest)
    if scheme := _SCHEME.match(text):
        raise ValueError(f"remove {scheme[0]}")
    host, port = split_host_port(text)
    return Address(parse_host(host or LOOPBACK), parse_port(port))


def _parse_every(text: str) -> EveryAddress:
    name, port = split_host_port(text)
    if is_ip(parse_host(name)):
        raise ValueError(f"an address is no name; remove {EVERY}")
    return EveryAddress(name, parse_port(port))


def _parse_service(text: str) -> ServiceAddress:
    if not _SERVICE.fullmatch(parse_host(text)):
        raise ValueError(f"a service is {EVERY}_service._tcp.name; every address of a name is {EVERY}name:port")
    return ServiceAddress(text, 0)


def parse_path(text: str) -> str:
    """Return the path of a Unix socket written as ``unix:/path``; raise ValueError with the mistake."""
    path = text.removeprefix(UNIX_PREFIX)
    if problem := path_problem(path):
        raise ValueError(problem)
    return path


def split_host_port(text: str) -> tuple[str, str]:
    """Split at the colon before the port and strip the brackets of an IPv6 host; raise ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], port
    if ":" in host:
        raise ValueError("an IPv6 address needs brackets, such as [2001:db8::1]:3080")
    if not colon or text.startswith("["):
        raise ValueError("the port is missing")
    return host, port


def parse_port(text: str) -> int:
    """Read a port from 1 to 65535; raise ValueError otherwise."""
    # The length check comes before int(), which raises an error of its own for thousands of digits.
    if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT)) and 1 <= int(text) <= MAX_PORT:
        return int(text)
    raise ValueError("a port is a number from 1 to 65535")


def parse_edge(text: str) -> str:
    """Read a host; brackets around an IPv6 address, which v0.7.2 needs here, are optional. Raise ValueError."""
    return parse_host(text[1:-1] if text.startswith("[") and text.endswith("]") else text)


def parse_page_host(text: str) -> str:
    """Return a host or ``unix:/path`` unchanged; raise ValueError with the mistake."""
    if names_path(text):
        parse_path(text)
        return text
    return parse_host(text)


def parse_host(text: str) -> str:
    """Return the IP address or host name unchanged; raise ValueError when it is neither."""
    if not is_ip(text) and (not _NAME.fullmatch(text) or _looks_numeric(text) or not _fits(text)):
        raise ValueError("the host is neither an IP address nor a host name")
    return text


def is_ip(text: str) -> bool:
    """Return whether the text is an IPv4 or IPv6 address."""
    return parse_ip(text) is not None


def _fits(name: str) -> bool:
    """Return whether a name, encoded if it has other letters than ASCII's, is short enough for DNS and TLS."""
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except UnicodeError:
            return False
    return len(name) <= _MAX_NAME and max(map(len, name.split("."))) <= _MAX_LABEL


def _looks_numeric(name: str) -> bool:
    # Resolvers read "1.2.3" and "256" as shortened IPv4 addresses; in a configuration they are typing mistakes.
    return name.rstrip(".").rpartition(".")[2].isdigit()
