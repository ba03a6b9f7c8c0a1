"""The proxy of a client: from its key, or from the environment if the key asks for that."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from typing import Final, get_args
from urllib.parse import SplitResult, unquote, urlsplit

from backhaul.net.proxy import Proxy, ProxyKind

from .address import is_ip, parse_host
from .errors import ConfigError
from .messages import choices
from .secret import Secret

ENVIRONMENT: Final = "environment"
"""The value of the key that stands for the variables."""
VARIABLES: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""The variables that name a proxy, the first choice first, as in curl; HTTP_PROXY is for requests in clear."""
_EXCEPTIONS: Final = ("no_proxy", "NO_PROXY")
_KINDS: Final[tuple[ProxyKind, ...]] = get_args(ProxyKind)
_PORTS: Final[dict[ProxyKind, int]] = {
    "http": 80,
    "https": 443,
    "socks5": 1080,
    "socks5h": 1080,
}  # where none is given, as in Go
_WITH_PORT: Final = re.compile(r"(?P<name>\[.*\]|[^:]*):(?P<port>[0-9]{1,5})")
_MAX_LOGIN: Final = 255  # bytes (RFC 1929)
_LIBRARY: Final = "python_socks"


def parse_proxy(text: str) -> Secret:
    """Read the key; raise ValueError with the mistake, which holds no part of the text."""
    if text != ENVIRONMENT:
        read_url(text)
    return Secret(text)


def read_url(text: str) -> Proxy:
    """Return the proxy that a URL names; raise ValueError with the mistake, which holds no part of the text."""
    kind, parts = _split(text)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    _check_login(kind, user, password)
    return Proxy(kind, parse_host(parts.hostname or ""), _port(parts) or _PORTS[kind], user, password)


def find_proxy(key: Secret, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy through which ``host`` is dialled, if any; raise ConfigError with a line that begins with proxy.

    ``environment`` counts only if the key says so.
    """
    proxy = _from(environment, host, port) if key.reveal() == ENVIRONMENT else _from_key(key)
    if proxy and proxy.kind.startswith("socks") and not find_spec(_LIBRARY):
        raise ConfigError(
            [f'proxy: {proxy.kind}:// requires python-socks; `pip install "backhaul[proxy]"` installs it']
        )
    return proxy


def _from_key(key: Secret) -> Proxy | None:
    return read_url(key.reveal()) if key else None


def _from(environment: Mapping[str, str], host: str, port: int) -> Proxy | None:
    name = next((name for name in VARIABLES if environment.get(name)), "")
    exceptions = next((environment[name] for name in _EXCEPTIONS if environment.get(name)), "")
    if not name or any(_excepts(entry, host, port) for entry in exceptions.replace(",", " ").split()):
        return None
    text = environment[name]
    try:
        return read_url(text if "://" in text else f"http://{text}")
    except ValueError as mistake:
        raise ConfigError([f"proxy: the variable {name} names no proxy: {mistake}"]) from None


def _excepts(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY covers a host: a name with its subdomains, an address, a network or ``*``."""
    match = _WITH_PORT.fullmatch(entry)
    if match and int(match["port"]) != port:
        return False
    name = (match["name"] if match else entry).strip("[]").lower()
    covers = _covers_address if is_ip(host) else _covers_name
    return name == "*" or covers(name, host)


def _covers_address(network: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


def _covers_name(name: str, host: str) -> bool:
    host = host.lower().rstrip(".")
    return host == name or host.endswith(f".{name.removeprefix('*').removeprefix('.')}")


def _split(text: str) -> tuple[ProxyKind, SplitResult]:
    if not text.isprintable() or " " in text:  # urlsplit drops some characters silently
        raise ValueError("it holds a space or a control character")
    try:
        parts = urlsplit(text)
    except ValueError:  # its text holds the password
        raise ValueError("it is no URL") from None
    kind = next((kind for kind in _KINDS if kind == parts.scheme), None)
    if kind is None:
        raise ValueError(f"it begins with {choices(f'{kind}://' for kind in _KINDS)}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            "only a port may follow the host; write `%2F`, `%3F` and `%23` for `/`, `?` and `#` in a login"
        )
    return kind, parts


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:  # its text may hold a part of the password
        port = 0
    if port == 0:
        raise ValueError("a port is a number from 1 to 65535")
    return port or 0


def _check_login(kind: ProxyKind, user: str, password: str) -> None:
    if kind.startswith("http"):
        if ":" in user or (password and not user):
            raise ValueError("a user name precedes the password, and holds no colon (RFC 7617)")
    elif bool(user) != bool(password):
        raise ValueError("SOCKS5 requires both a user name and a password, or neither")
    elif not (user + password).isascii() or max(len(user), len(password)) > _MAX_LOGIN:
        raise ValueError(f"user name and password have ASCII letters only, at most {_MAX_LOGIN} (RFC 1929)")
