"""Listening sockets of another process: names for them, and forms in which they can be taken over."""

import contextlib
import errno
import os
import socket

from .unix_sockets import SocketFile, UnixListener


class LentListener(socket.socket):
    """A listening socket that the service manager goes on with when this process ends: it must never be shut down."""

    def shutdown(self, how: int) -> None:
        """Raise OSError: whoever wants to refuse users closes this socket."""
        del how
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def own(sock: socket.socket) -> socket.socket:
    """Return a socket of the process before; a Unix socket owns its file from now on."""
    if not _is_unix(sock):
        return sock
    listener = _unix(sock)
    with contextlib.suppress(OSError):  # somebody has removed it
        listener.file = SocketFile.at(listener.path)
    return listener


def lent(sock: socket.socket) -> socket.socket:
    """Return a socket of a unit of the service manager, whose file, if it has one, is the manager's."""
    return _unix(sock) if _is_unix(sock) else LentListener(sock.family, sock.type, sock.proto, sock.detach())


def last_copy(sock: socket.socket) -> socket.socket:
    """Return a copy that will be closed after `sock`: the file of a Unix socket goes over to it."""
    copy = sock.dup()
    if isinstance(sock, UnixListener) and isinstance(copy, UnixListener):
        copy.file, sock.file = sock.file, None
    return copy


def leave(sock: socket.socket) -> None:
    """Close a copy, the last one here, of a socket that others go on with."""
    if isinstance(sock, UnixListener):
        sock.file = None
    sock.close()


def name_of(sock: socket.socket) -> str:
    """Return what tells listening sockets apart: protocol, port and host."""
    if isinstance(sock, UnixListener):
        return join(sock.type, sock.path, 0)
    if _is_unix(sock):
        return join(sock.type, str(sock.getsockname()), 0)
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        return join(sock.type, *sock.getsockname()[:2])
    return f"other-{sock.fileno()}"


def describe(sock: socket.socket) -> str:
    """Return where it listens, as an administrator writes it."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return f"unix:{sock.getsockname()}" if sock.family == socket.AF_UNIX else f"of family {sock.family}"
    host, port = sock.getsockname()[:2]
    protocol = "" if sock.type == socket.SOCK_STREAM else " (UDP)"
    return f"[{host}]:{port}{protocol}" if ":" in host else f"{host}:{port}{protocol}"


def join(kind: int, host: str, port: int) -> str:
    """Return a name without colons, which a service manager does not take (sd_notify(3), FDNAME=)."""
    protocol = "unix" if host.startswith("/") else "tcp" if kind == socket.SOCK_STREAM else "udp"
    return f"{protocol}-{port}-{host.replace(':', '_')}"


def _unix(sock: socket.socket) -> UnixListener:
    return UnixListener(socket.AF_UNIX, socket.SOCK_STREAM, 0, sock.detach())


def _is_unix(sock: socket.socket) -> bool:
    return sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM
