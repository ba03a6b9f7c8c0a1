"""The listening sockets of a server, which the next process may inherit, or whose ports it may share."""

import array
import contextlib
import errno
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from .bind_hosts import BindHosts
from .inherited import Depot, NoDepot, Spares, join, name_of
from .resolver import LookUp, look_up
from .sockets import BACKLOG, SocketOptions, addresses, bind_datagrams, listen, prepare_datagrams
from .unix_sockets import listen_at, reaches_this_process

log = logging.getLogger("backhaul.server")

_ATTACH_FILTER: Final = 51  # SO_ATTACH_REUSEPORT_CBPF of <asm-generic/socket.h>, missing in the socket module
_RETURN: Final = 0x06  # BPF_RET | BPF_K of <linux/bpf_common.h>
_NEWER: Final = 1  # the kernel numbers the sockets of a shared port from 0, in the order of their listen(2)


class Opener(Protocol):
    """The opener of a gate's sockets."""

    def streams(self, host: str, port: int, options: SocketOptions) -> socket.socket:
        """Return a listening TCP or Unix socket; raise OSError if that fails.

        ``host`` is read as by ``sockets.listen``, or is the path of a Unix socket, to which no options apply.
        """

    def datagrams(self, host: str, port: int) -> socket.socket:
        """Return a bound UDP socket; raise OSError if that fails. ``host`` is read as by ``sockets.listen``."""


class Listeners:
    """Opens listening sockets, and knows the open ones.

    A matching socket of ``inherited`` is used, with all users waiting in it.

    With ``shared`` the previous process still runs and shares its ports with this one, for which the kernel requires
    the same user. Unix sockets cannot be shared: those of the process ``predecessor`` are replaced.
    """

    def __init__(
        self,
        inherited: Iterable[tuple[str, socket.socket]] = (),
        *,
        shared: bool = False,
        predecessor: int = 0,
        depot: Depot | None = None,
        names: LookUp = look_up,
    ) -> None:
        """Look names up with ``names``, which is called in threads and may block."""
        self.hosts = BindHosts(names)
        """The hosts to listen on; names must be learnt first."""
        self._spares = Spares(inherited, depot or NoDepot())
        self._claimed: set[str] = set()  # kept for the monitoring page
        self._predecessor = predecessor
        self.shared = shared
        """True while the previous process still has its sockets."""
        self._open: dict[str, socket.socket] = {}
        self._withheld: set[str] = set()  # ports that no other process may share
        self.succeeding = shared or self._spares.succeeding
        """True if this process follows another one, whose client and users will connect."""

    @property
    def kept(self) -> bool:
        """True if all sockets stay open when this process ends."""
        living = [name for name in self._open if self._living(name)]
        return bool(living) and all(name in self._spares for name in living)

    def streams(self, host: str, port: int, options: SocketOptions) -> socket.socket:
        """Return a listening socket, an inherited one if it matches; raise OSError if that fails."""
        if host.startswith("/"):
            return self.path(host, replacing=self._predecessor)
        host = self.hosts.address(host)
        sock = self._take(host, port, socket.SOCK_STREAM)
        if sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            options.renew(sock)
            if not options.fits(sock) and not self._spares.lent(name_of(sock)):
                sock = self._renew(sock, host, port, options)
            sock.listen(BACKLOG)  # again: the previous process may have ended while it refused users
        else:
            sock = self._make(port, socket.SOCK_STREAM, lambda share: listen(host, port, options, share=share))
        return self._note(sock)

    def path(self, path: str, *, replacing: int = 0) -> socket.socket:
        """Return a socket listening on ``path``, or replace that of the process ``replacing``; raise OSError."""
        sock = self._take(path, 0, socket.SOCK_STREAM)
        if sock:
            sock.listen(BACKLOG)  # again, so that the kernel reports this process as the listener to its peers
            if not reaches_this_process(path):  # its file was removed, for example with the service's runtime directory
                self._spares.replace(sock)
                sock = None
        return self._note(sock or listen_at(path, replacing=replacing))

    def datagrams(self, host: str, port: int) -> socket.socket:
        """Return a bound UDP socket, an inherited one if it matches; raise OSError if that fails."""
        host = self.hosts.address(host)
        sock = self._take(host, port, socket.SOCK_DGRAM)
        if sock:
            prepare_datagrams(sock)
        else:
            sock = self._make(port, socket.SOCK_DGRAM, lambda share: bind_datagrams(host, port, share=share))
        return self._note(sock)

    def claim(self, host: str, port: int) -> None:
        """Keep an inherited socket of this address for the monitoring page, which opens last."""
        self._claimed = set(self._names(host, port))

    def page(self, host: str, port: int) -> socket.socket | None:
        """Return a Unix socket or an inherited socket for the monitoring page, or None if the page must open one.

        Raises OSError if a Unix socket cannot be opened.
        """
        if host.startswith("/"):
            return self.path(host, replacing=self._predecessor)
        found = next((name for name in self._names(host, port) if name in self._spares), "")
        return self._note(self._spares.take(found)) if found else None

    def settle(self) -> None:
        """Close unused sockets, once all sockets of the configuration are open.

        Of the service manager's own sockets only those that were never in use are closed: a reload may need the others.
        """
        self.shared = False
        self._predecessor = 0
        useless = [name for name in self._spares if not self._living(name) and name not in self._claimed]
        unwanted = [name for name in useless if self._spares.lent(name) and name not in self._open]
        if unwanted:
            log.warning(
                "socket %s of the service manager: not in the configuration, closed; remove it from the .socket unit, "
                "or name it in bind_addr, ports, or web_bind and web_port",
                self._spares.describe(unwanted),
            )
        for name in useless:
            if name in unwanted or not self._spares.lent(name):
                self._spares.discard(name)

    def close(self) -> None:
        """Close the unused sockets; those kept by the depot stay open for the next process."""
        self.hosts.close()
        self._spares.close()

    def share(self) -> None:
        """Let the next process share the ports of this one, except the withheld ones."""
        for name in self._shareable():
            with contextlib.suppress(OSError):
                self._open[name].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def prefer_newer(self) -> None:
        """Let the kernel send all new connections on shared TCP ports to the next process.

        Otherwise half of them arrive here, and closing the sockets would reset those not accepted yet.
        """
        program = array.array("B", struct.pack("=HBBI", _RETURN, 0, 0, _NEWER))
        address, _ = program.buffer_info()
        for name in self._shareable():
            with contextlib.suppress(OSError):  # this one is not shared, or refuses users
                self._open[name].setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", 1, address))

    def withhold(self, sock: socket.socket) -> socket.socket:
        """Return this socket, and never share its port; the next process gets the port when this one has left it."""
        self._withheld.add(name_of(sock))
        return sock

    def _shareable(self) -> list[str]:
        return [name for name in self._open if name not in self._withheld and self._living(name)]

    def _living(self, name: str) -> bool:
        return name in self._open and self._open[name].fileno() >= 0

    def _take(self, host: str, port: int, kind: socket.SocketKind) -> socket.socket | None:
        names = (join(kind, *address[:2]) for _, address in addresses(host, port)) if self._spares else ()
        return next(
            (self._spares.take(name) for name in names if name in self._spares and not self._living(name)), None
        )

    def _names(self, host: str, port: int) -> list[str]:
        """Return the possible names of a page's socket; a host name not looked up yet has none."""
        if not self._spares:
            return []
        try:
            found = addresses(self.hosts.address(host), port)
            return [join(socket.SOCK_STREAM, *address[:2]) for _, address in found]
        except OSError:
            return []

    def _renew(self, old: socket.socket, host: str, port: int, options: SocketOptions) -> socket.socket:
        """Return a new socket in place of an inherited one, or the inherited one if that fails.

        Both share the port for a moment, until the depot has closed its copy.
        """
        old.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock = listen(host, port, options, share=True)
        except OSError:  # the old one was made by another user, as with DynamicUser= of systemd
            return old
        finally:
            old.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        self._spares.replace(old)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        return sock

    def _make(self, port: int, kind: socket.SocketKind, make: Callable[[bool], socket.socket]) -> socket.socket:
        try:
            return make(False)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not (self._give_way(port, kind) or self.shared):
                raise
        return make(self.shared)

    def _give_way(self, port: int, kind: socket.SocketKind) -> bool:
        """Close inherited sockets of other addresses on this port; return whether there were any."""
        same = [name for name in self._spares if name.startswith(join(kind, "", port)) and not self._living(name)]
        useless = [name for name in same if not self._spares.lent(name)]
        for name in useless:
            self._spares.discard(name)
        return bool(useless)

    def _note(self, sock: socket.socket) -> socket.socket:
        """Remember the socket; if a depot keeps it, keep a copy here for the next opening of the same port."""
        name = name_of(sock)
        self._open[name] = sock
        self._withheld.discard(name)
        self._spares.note(name, sock)
        return sock


class WithheldListeners:
    """Opens sockets whose ports are not shared: those dialled by the client.

    A tunnel connection for a user of this process is useless to the next one.
    """

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners

    def streams(self, host: str, port: int, options: SocketOptions) -> socket.socket:
        """Return a listening socket of this process alone, because the client must reach the process that it knows."""
        if host.startswith("/"):
            return self._listeners.withhold(self._listeners.path(host))
        return self._listeners.withhold(self._listeners.streams(host, port, options))

    def datagrams(self, host: str, port: int) -> socket.socket:
        """Return a bound UDP socket of this process alone; raise OSError if that fails."""
        return self._listeners.withhold(self._listeners.datagrams(host, port))
