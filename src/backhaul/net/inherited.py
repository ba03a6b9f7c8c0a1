"""Listening sockets that outlive a process: their names, and their way from one process to the next."""

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from .unix_sockets import SocketFile, UnixListener

_FORBIDDEN: Final = re.compile("[^ -~]")


class Depot(Protocol):
    """Keeps copies of sockets for the next process."""

    def keep(self, name: str, sock: socket.socket) -> bool:
        """Keep a copy under this name; return whether there is a store."""

    def drop(self, name: str) -> None:
        """Close the copy."""


class NoDepot:
    """A depot that keeps nothing."""

    def keep(self, name: str, sock: socket.socket) -> bool:
        """Keep nothing."""
        del name, sock
        return False

    def drop(self, name: str) -> None:
        """Do nothing."""


class Spares:
    """Listening sockets by name: inherited ones that are unused, and copies of those that outlive this process.

    Inherited sockets under their own names were kept by the depot for the previous process. The others are lent: they
    belong to a unit of the service manager, which keeps them anyway.
    """

    def __init__(self, inherited: Iterable[tuple[str, socket.socket]], depot: Depot) -> None:
        self._depot = depot
        self._socks: dict[str, socket.socket] = {}
        self._lent: set[str] = set()
        for name, sock in inherited:
            self._inherit(name, sock)
        self.succeeding = bool(self._socks.keys() - self._lent)
        """True if a previous process kept sockets for this one."""

    def __contains__(self, name: str) -> bool:
        return name in self._socks

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._socks))

    def __len__(self) -> int:
        return len(self._socks)

    def lent(self, name: str) -> bool:
        """Return whether the socket belongs to a unit of the service manager."""
        return name in self._lent

    def take(self, name: str) -> socket.socket:
        """Return the socket; the caller owns it."""
        sock = self._socks.pop(name)
        sock.setblocking(False)
        return sock

    def note(self, name: str, sock: socket.socket) -> None:
        """Keep a copy of a socket now in use, if it outlives this process."""
        if name in self._lent or self._depot.keep(name, sock):
            self._socks[name] = _last_copy(sock)

    def replace(self, old: socket.socket) -> None:
        """Close a taken socket, here and in the depot, because another one replaces it."""
        self._depot.drop(name_of(old))
        _leave(old)  # if its file is not its own any more, it is that of another program

    def discard(self, name: str) -> None:
        """Close the socket, here and in the depot."""
        self._socks.pop(name).close()
        if name in self._lent:
            self._lent.discard(name)
        else:
            self._depot.drop(name)

    def describe(self, names: Iterable[str]) -> str:
        """Return the addresses of the sockets, in the form of the configuration."""
        return ", ".join(_describe(self._socks[name]) for name in names)

    def close(self) -> None:
        """Close all sockets of this process, and leave them to the next one."""
        while self._socks:
            _leave(self._socks.popitem()[1])

    def _inherit(self, given: str, sock: socket.socket) -> None:
        name = name_of(sock)
        if name in self._socks:  # two of one address: the first comes from the unit
            sock.close()
        elif given == name:
            self._socks[name] = _own(sock)
        else:
            self._socks[name] = _lend(sock)
            self._lent.add(name)


class LentListener(socket.socket):
    """A listening socket that the service manager keeps using after this process, so it must never be shut down."""

    def shutdown(self, how: int) -> None:
        """Raise OSError; to refuse users, this socket must be closed."""
        del how
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def name_of(sock: socket.socket) -> str:
    """Return the unique name of a listening socket, made of protocol, port and host."""
    if isinstance(sock, UnixListener):
        return join(sock.type, sock.path, 0)
    if _is_unix(sock):
        return join(sock.type, str(sock.getsockname()), 0)
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        return join(sock.type, *sock.getsockname()[:2])
    return f"other-{sock.fileno()}"


def _describe(sock: socket.socket) -> str:
    """Return the address of a socket, in the form of the configuration."""
    if isinstance(sock, UnixListener):
        return f"unix:{sock.path}"
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return f"unix:{sock.getsockname()}" if sock.family == socket.AF_UNIX else f"of family {sock.family}"
    host, port = sock.getsockname()[:2]
    protocol = "" if sock.type == socket.SOCK_STREAM else " (UDP)"
    return f"[{host}]:{port}{protocol}" if ":" in host else f"{host}:{port}{protocol}"


def join(kind: int, host: str, port: int) -> str:
    """Return a name of ASCII characters without colons and control characters, as sd_notify(3) requires of FDNAME=."""
    protocol = "unix" if host.startswith("/") else "tcp" if kind == socket.SOCK_STREAM else "udp"
    return f"{protocol}-{port}-{_FORBIDDEN.sub(lambda found: f'%{ord(found[0]):x}', host.replace(':', '_'))}"


def _own(sock: socket.socket) -> socket.socket:
    """Return a socket of the previous process; a Unix socket owns its file from now on."""
    if not _is_unix(sock):
        return sock
    listener = _unix(sock)
    with contextlib.suppress(OSError):  # the file has been removed
        listener.file = SocketFile.at(listener.path)
    return listener


def _lend(sock: socket.socket) -> socket.socket:
    """Return a socket of a unit of the service manager; the manager owns its file, if there is one."""
    return _unix(sock) if _is_unix(sock) else LentListener(sock.family, sock.type, sock.proto, sock.detach())


def _last_copy(sock: socket.socket) -> socket.socket:
    """Return a copy that is closed after ``sock``, and so owns the file of a Unix socket."""
    copy = sock.dup()
    if isinstance(sock, UnixListener) and isinstance(copy, UnixListener):
        copy.file, sock.file = sock.file, None
    return copy


def _leave(sock: socket.socket) -> None:
    """Close the last copy in this process of a socket that others keep using."""
    if isinstance(sock, UnixListener):
        sock.file = None
    sock.close()


def _unix(sock: socket.socket) -> UnixListener:
    return UnixListener(socket.AF_UNIX, socket.SOCK_STREAM, 0, sock.detach())


def _is_unix(sock: socket.socket) -> bool:
    return sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM
