"""Warnings about accepted but doubtful settings. Each line begins with the key and ends with the remedy."""

import os
import stat
from collections.abc import Callable, Container, Iterable, Iterator
from ipaddress import ip_address
from itertools import groupby
from pathlib import Path
from socket import SOCK_STREAM

from backhaul.paths import is_folder

from .address import is_ip
from .common import DEFAULT_TOKEN, Security
from .events import is_url
from .keys import Key, keys
from .kinds import kinds_of
from .messages import few
from .ports import PortMapping
from .schema import ClientConfig, Config, ServerConfig, doors_of
from .secret import Secret

LEAST_TOKEN = 16  # characters: the 64 bits of `openssl rand -hex 8` cannot be guessed over a network

# Texts in place of a token in the documents and examples of this program and of v0.7.2.
_PLACEHOLDERS = frozenset(
    {
        "put your token here",
        "replace this with a long random text",
        "a long random text",
        "your_token",
        "your token",
        "your-token",
        "changeme",
    }
)
_REMEDY = "set the same long random token on both ends (`backhaul token` makes one)"


def warnings(config: Config) -> Iterator[str]:
    """Yield a line for each warning about the values and the files they name."""
    yield from _token(config)
    yield from _in_clear(config)
    yield from _page(config)
    yield from _without_effect(config, keys(type(config)))
    yield from _folders(config)
    if config.sniffer:
        yield from _log_file("sniffer_log", config.sniffer_log)
    if isinstance(config, ServerConfig) and config.access_log.startswith("/"):
        yield from _log_file("access_log", config.access_log)
    if isinstance(config, ServerConfig):
        yield from _of_a_server(config)
    else:
        yield from _of_a_client(config)


def of_another(config: ClientConfig, given: Container[str]) -> Iterator[str]:
    """Yield a line for each warning about another server of a client; its entry gives the keys ``given``."""
    if "token" in given or "tokens" in given or "token_file" in given:
        yield from _token(config)
    yield from _in_clear(config)
    yield from _without_effect(config, [key for key in keys(ClientConfig) if key.name in given])
    yield from _of_a_client(config)


def exposure(config: Config, path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a line for each world-readable file with a secret of this configuration, ``path`` itself included."""
    ends = doors_of(config) or (config,)
    if name := next(filter(None, map(_secret_key, ends)), ""):
        yield from _exposed(name, os.fspath(path))
    for name, file in _token_files(config):
        yield from _exposed(name, file)
    if isinstance(config, ServerConfig) and config.facts.tls:
        yield from _exposed("tls_key", config.tls_key)
    if key := config.page_files.get("web_key"):
        yield from _exposed("web_key", key)


def _secret_key(config: Config) -> str:
    """Return the name of a key that puts a secret into the file; empty if there is none."""
    if config.web_password:
        return "web_password"
    if config.tokens or config.token != DEFAULT_TOKEN:
        return "token"
    clients = config.clients.named if isinstance(config, ServerConfig) else ()
    if any(client.token or client.tokens for client in clients):
        return "clients"
    if isinstance(config, ClientConfig) and "@" in config.proxy.reveal():
        return "proxy"
    target = config.on_event.reveal()
    return "on_event" if is_url(target) and ("@" in target or "?" in target) else ""


def _token_files(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the files with tokens, each once, with the name of its key."""
    ends = doors_of(config) or (config,)
    yield from (("token_file", file) for file in dict.fromkeys(end.token_file for end in ends if end.token_file))
    for client in config.clients.named if isinstance(config, ServerConfig) else ():
        if client.token_file:
            yield f"{client.table}token_file", client.token_file


def _exposed(name: str, path: str) -> Iterator[str]:
    if _anyone_may(stat.S_IROTH, path):
        # `chmod o=` alone could take away the only permission by which the service's user reads the file.
        remedy = f"`chown USER {path} && chmod 600 {path}`, with the user who runs this program"
        yield f"{name}: every user of this machine can read it in {path}; {remedy}"


def _token(config: Config) -> Iterator[str]:
    for token in config.accepted:
        yield from weakness(token, config.security)
    for client in config.clients.named if isinstance(config, ServerConfig) else ():
        for token in client.accepted:
            yield from (f"{client.table}{problem}" for problem in weakness(token, config.security))


def weakness(token: Secret, security: Security) -> Iterator[str]:
    """Yield the reason why a token protects nothing, if there is one."""
    text = token.reveal()
    if token == DEFAULT_TOKEN:
        yield f"token: not set, and the default is public: ANYONE CAN TAKE OVER THIS TUNNEL; {_REMEDY}"
    elif " ".join(text.lower().split()) in _PLACEHOLDERS:
        yield f"token: still the text of an example: ANYONE CAN TAKE OVER THIS TUNNEL; {_REMEDY}"
    elif len(text) < LEAST_TOKEN:
        where = ", offline, from one recorded handshake" if security == "required" else ""
        yield f"token: shorter than {LEAST_TOKEN} characters, it can be guessed{where}; {_REMEDY}"


def _in_clear(config: Config) -> Iterator[str]:
    if config.security == "legacy" and not config.facts.tls:
        yield (
            f"security: with legacy the token crosses the network in clear on transport {config.transport}; "
            'set security = "required" on both ends if both run this program'
        )


def _page(config: Config) -> Iterator[str]:
    page = config.page
    protected = config.web_user or config.web_client_ca
    if page and not page.is_path and not protected and not _is_loopback(config.web_bind):
        yield (
            f"web_port: the monitoring page is open to everyone who reaches port {config.web_port}; "
            'set web_user and web_password, web_client_ca, or web_bind = "127.0.0.1"'
        )


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback if is_ip(host) else host == "localhost"


def _without_effect(config: Config, given: Iterable[Key]) -> Iterator[str]:
    """Yield the keys without effect on this transport, one line for those with the same transports."""
    idle = [key for key in given if config.transport not in key.traits.on and _is_set(config, key)]
    for transports, group in groupby(sorted(idle, key=lambda key: key.traits.on), lambda key: key.traits.on):
        names = ", ".join(key.name for key in group)
        yield f"{names}: no effect on transport {config.transport}, only on {', '.join(transports)}; remove it here"


def _is_set(config: Config, key: Key) -> bool:
    return bool(getattr(config, key.name) != key.default)


def _folders(config: Config) -> Iterator[str]:
    """Yield missing directories of Unix sockets: no error, as a service manager may make them at the start."""
    wanted = [("web_bind", config.page)]
    if isinstance(config, ServerConfig):
        wanted += [
            ("bind_addr", config.bind_addr),
            *(("ports", mapping.address) for mapping in config.all_ports if not mapping.bind_port),
        ]
    for name, address in wanted:
        folder = Path(address.host).parent if address and address.is_path else None
        if folder and not is_folder(folder):
            yield f"{name}: no directory {folder} for {address}; make it, or correct the path"


def _log_file(key: str, file: str) -> Iterator[str]:
    folder = Path(file).parent
    if not is_folder(folder):
        yield f"{key}: no directory {folder.absolute()}; make it, or correct the path"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield f"{key}: directory {folder.absolute()} is not writable; correct its permissions or the path"
    elif _anyone_may(stat.S_IWOTH, folder):
        yield f"{key}: every user of this machine can write in {folder.absolute()}; choose another directory"


def _of_a_server(config: ServerConfig) -> Iterator[str]:
    if not config.all_ports:
        yield 'ports: none, so no user can connect; add some, such as ports = ["443=5201"]'
    yield from _limits(config)
    yield from _proxied(config)
    yield from _checked_groups(config)
    if config.proxy_protocol is True and not config.facts.datagrams and not config.proxied:
        yield f'proxy_protocol: true has no effect on transport {config.transport}, as in v0.7.2; write "v2" or "v1"'


def _proxied(config: ServerConfig) -> Iterator[str]:
    """Yield ports whose header goes nowhere."""
    listed = {mapping.bind_port for mapping in _for_streams(config, config.all_ports)}
    if not config.facts.datagrams and (others := sorted(config.proxied.ports.keys() - listed)):
        named = few(list(map(str, others)))
        yield f"proxy_protocol: no effect on {named}, which ports does not list for TCP; correct the numbers"


def _checked_groups(config: ServerConfig) -> Iterator[str]:
    for group in config.groups.named:
        if group.health and not any(_for_streams(config, group.ports)):
            yield f"groups.{group.name}.health: no effect, none of its ports serves TCP; remove it"


def _for_streams(config: ServerConfig, ports: Iterable[PortMapping]) -> Iterator[PortMapping]:
    kinds = kinds_of(config)
    return (mapping for mapping in ports if SOCK_STREAM in kinds.of(mapping))


def _limits(config: ServerConfig) -> Iterator[str]:
    listed = {mapping.bind_port for mapping in config.all_ports}
    for port, _ in config.limits.ports:
        if port not in listed:
            yield f"limits.{port}: no effect, ports does not list {port}; correct the number or remove the table"


def _of_a_client(config: ClientConfig) -> Iterator[str]:
    if config.security == "legacy" and config.facts.tls and not _is_verified(config):
        yield (
            "tls_verify: the server's certificate is not verified, as in v0.7.2, and any server that answers gets the "
            "token; set tls_fingerprint or tls_verify"
        )
    if config.tls_ca and not config.tls_verify and config.facts.tls:
        yield "tls_ca: no effect while the server's certificate is not verified; set tls_verify = true"
    if config.servers_mode != "order" and not config.servers:
        yield "servers_mode: no effect without servers; add some, or remove it"


def bare_token(config: ClientConfig, protected: Callable[[str], bool]) -> Iterator[str]:
    """Yield a line if this client may send its bare token to a server that was not ``protected`` before."""
    risky = config.security == "auto" and not (config.facts.tls and _is_verified(config))
    if risky and not protected(config.remembered_as):
        yield (
            "security: until the server has been protected once, an attacker on the path can make this client send the "
            'bare token, as v0.7.2 does; set security = "required" on both ends once both run this program'
        )


def _is_verified(config: ClientConfig) -> bool:
    """Return whether the client verifies the server's certificate on a transport with TLS."""
    return config.tls_verify or bool(config.tls_fingerprint)


def _anyone_may(permission: int, path: str | os.PathLike[str]) -> bool:
    """Return whether every user has a permission for a file and for the directories above it.

    /root and most home directories are closed to other users.
    """
    try:
        file = Path(path).resolve(strict=True)
        return _grants(file, permission) and all(_grants(folder, stat.S_IXOTH) for folder in file.parents)
    except OSError:  # removed in the meantime
        return False


def _grants(path: Path, permission: int) -> bool:
    return bool(path.stat().st_mode & permission)
