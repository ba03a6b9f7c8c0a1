"""The check of the addresses that a server listens on: each is free, or belongs to the running program."""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from backhaul.config import Address, ServerConfig
from backhaul.config.kinds import kinds_of
from backhaul.config.schema import Config
from backhaul.errors import reason
from backhaul.monitor.status import CLOSED
from backhaul.net.sockets import EVERYWHERE, addresses
from backhaul.net.unix_sockets import listener_at
from backhaul.paths import is_folder

from .circumstances import Circumstances
from .finding import Finding, fault, ok, skipped
from .owners import Owners
from .processes import running
from .wording import count

SUBJECT: Final = "ports"
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_LOW: Final = 1024
_SHOWN: Final = 10  # faults
_UNSEEN: Final = "it may be this program: to see it, run this command as root, or in its container"
_LOW_REMEDY: Final = (
    "run it with `backhaul service install`, or with AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit of your own"
)


class Use(NamedTuple):
    """An address, and the key that names it."""

    key: str
    address: Address
    kind: socket.SocketKind

    def __str__(self) -> str:
        datagrams = "UDP " if self.kind == socket.SOCK_DGRAM else ""
        host = "" if self.address.is_path or self.address.host else "*"
        return f"{self.key}: {datagrams}{host}{self.address}"


def examine(config: ServerConfig, around: Circumstances) -> Iterator[Finding]:
    """Yield a finding about all free addresses, and one about each of the first that are not."""
    if around.programs:
        yield from _reported(around.programs)
    elif running(around.file, around.proc):
        yield skipped(SUBJECT, "the program has them, but does not report its state", "see the line `program`")
    else:
        yield from _judged(_uses(config), around.proc)


def page(config: Config, around: Circumstances) -> Iterator[Finding]:
    """Yield a finding about the address of the page of a client, unless the program has it."""
    if config.page and not around.programs and not running(around.file, around.proc):
        yield from _judged([_page(config.page)], around.proc)


def _reported(programs: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Yield findings about the ports that the running program reports."""
    ports = [port for program in programs for port in program.get("ports", ()) if isinstance(port, dict)]
    down = [port for port in ports if port.get("problem") not in {"", None, *CLOSED}]
    if len(ports) > len(down):
        yield ok(SUBJECT, f"the program has {count(len(ports) - len(down), 'port')} open, or opens them with a client")
    remedy = "correct `ports`, or free the port and reload (`systemctl reload`, or SIGHUP)"
    for port in down[:_SHOWN]:
        yield fault(SUBJECT, f"{port.get('bind') or '*'}:{port.get('port')}: {port.get('problem')}", remedy)
    yield from _more(len(down))


def _judged(uses: Sequence[Use], proc: Path) -> Iterator[Finding]:
    """Yield findings about addresses that no program of this file has."""
    failed = [(use, error) for use in uses if (error := _error(use))]
    if good := len(uses) - len(failed):
        yield ok(SUBJECT, f"{good} of {count(len(uses), 'address', 'addresses')} free to listen on")
    owners = Owners(proc)
    for use, error in failed[:_SHOWN]:
        yield _path_fault(use, error) if use.address.is_path else _fault(use, error, owners)
    yield from _more(len(failed))


def _more(faults: int) -> Iterator[Finding]:
    if faults > _SHOWN:
        yield fault(SUBJECT, f"{faults - _SHOWN} more are not free", "correct those above first")


def _uses(config: ServerConfig) -> list[Use]:
    uses = [Use("bind_addr", config.bind_addr, socket.SOCK_STREAM)]
    if config.facts.datagrams:
        uses.append(Use("bind_addr", config.bind_addr, socket.SOCK_DGRAM))
    kinds = kinds_of(config)
    for mapping in config.all_ports:
        uses += [Use("ports", mapping.address, kind) for kind in sorted(kinds.of(mapping))]
    return [*uses, _page(config.page)] if config.page else uses


def _page(address: Address) -> Use:
    return Use("web_bind" if address.is_path else "web_port", address, socket.SOCK_STREAM)


def _error(use: Use) -> OSError | None:
    """Return the reason why an address is not free, or None if it is."""
    try:
        if use.address.is_path:
            _look_at(use.address.host)
        else:
            for family, address in addresses(use.address.host, use.address.port):
                _bind(family, address, use)
    except OSError as error:
        return error
    return None


def _look_at(path: str) -> None:
    """Raise OSError if no socket can be made at a path."""
    folder = Path(path).parent
    if listener_at(path) is not None:
        raise OSError(errno.EADDRINUSE, "another program listens on it")
    if not is_folder(folder):
        raise OSError(errno.ENOENT, f"no directory {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, f"{folder} is not writable for this user")


def _bind(family: int, address: tuple[Any, ...], use: Use) -> None:
    """Bind a socket for a moment, without listening; raise OSError."""
    try:
        with socket.socket(family, use.kind) as sock:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if use.kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError as error:
        if error.errno not in _ABSENT or use.address.host not in EVERYWHERE:
            raise  # otherwise the machine lacks one of the families


def _fault(use: Use, error: OSError, owners: Owners) -> Finding:
    port = use.address.port
    if error.errno == errno.EADDRINUSE:
        return _taken(use, port, owners)
    if error.errno == errno.EACCES and port < _LOW:
        return fault(SUBJECT, f"{use}: this user may not listen below port {_LOW}", _LOW_REMEDY)
    if error.errno in _ABSENT:
        text = f"{use}: this machine has no such address"
        return fault(SUBJECT, text, "correct it; `ip address` shows those that it has")
    return fault(SUBJECT, f"{use}: {reason(error)}", "correct the address")


def _taken(use: Use, port: int, owners: Owners) -> Finding:
    name, listens = owners.find(port, use.kind)
    if listens and not name:
        return fault(SUBJECT, f"{use}: in use by a process that can't be seen here", _UNSEEN)
    if listens:
        return fault(SUBJECT, f"{use}: in use by {name}", "stop that one, or choose another port")
    remedy = f"`sysctl net.ipv4.ip_local_reserved_ports={port}` keeps the port for listeners"
    return fault(SUBJECT, f"{use}: it is the source port of a connection to elsewhere", remedy)


def _path_fault(use: Use, error: OSError) -> Finding:
    remedies = {
        errno.EADDRINUSE: "stop that one, or choose another path",
        errno.ENOENT: "make it, or correct the path",
    }
    remedy = remedies.get(error.errno or 0, "correct its permissions, or the path")
    return fault(SUBJECT, f"{use}: {error.strerror}", remedy)
