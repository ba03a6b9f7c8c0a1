"""The listening sockets of a server. They may outlive it: the next process inherits them, or shares their ports."""

import array
import contextlib
import errno
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from .bind_hosts import BindHosts
from .inherited import Depot, NoDepot, Spares, join, name_of
from .resolver import LookUp, look_up
from .sockets import BACKLOG, SocketOptions, addresses, bind_datagrams, listen, prepare_datagrams
from .unix_sockets import listen_at

log = logging.getLogger("backhaul.server")

_ATTACH_FILTER: Final = 51  # SO_ATTACH_REUSEPORT_CBPF of <asm-generic/socket.h>, which the socket module does not name
_RETURN: Final = 0x06  # BPF_RET | BPF_K of <linux/bpf_common.h>
_NEWER: Final = 1  # the kernel counts the sockets that share a port from 0, in the order in which they came


class Opener(Protocol):
    """Opens the sockets of a gate."""

    def streams(self, host: str, port: int, options: SocketOptions) -> socket.socket:
        """Return a listening TCP or Unix socket; raises OSError.

        `host` is read as by `sockets.listen`, or is the path of a Unix socket, which has no options.
        """

    def datagrams(self, host: str, port: int) -> socket.socket:
        """Return a bound UDP socket; raises OSError. `host` is read as by `sockets.listen`."""


class Listeners:
    """Opens listening sockets, and knows those that are open.

    One of `inherited` that fits is taken over, with all who wait in it.

    `shared`: the process before still runs, and shares its ports with this one: the kernel wants one user for both.
    Unix sockets can't be shared: those of the process `predecessor` are replaced.
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
        """`names` finds the addresses of a name: it is called in threads and may take its time."""
        self.hosts = BindHosts(names)
        """Names have to be learnt before anything listens on them."""
        self._spares = Spares(inherited, depot or NoDepot())
        self._claimed: set[str] = set()  # those of the monitoring page
        self._predecessor = predecessor
        self.shared = shared
        """Whether the process before still has its sockets."""
        self._open: dict[str, socket.socket] = {}
        self._withheld: set[str] = set()  # those that no other process may listen beside
        self.succeeding = shared or self._spares.succeeding
        """Whether this process follows another one, whose client and users will come."""

    @property
    def kept(self) -> bool:
        """Whether all sockets stay open when this process ends."""
        living = [name for name in self._open if self._living(name)]
        return bool(living) and all(name in self._spares for name in living)

    def streams(self, host: str, port: int, options: SocketOptions) -> socket.socket:
        """See Opener."""
        if host.startswith("/"):
            return self.path(host, replacing=self._predecessor)
        host = self.hosts.address(host)
        sock = self._take(host, port, socket.SOCK_STREAM)
        if sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            options.renew(sock)
            if not options.fits(sock) and not self._spares.lent(name_of(sock)):
                sock = self._renew(sock, host, port, options)
            sock.listen(BACKLOG)  # anew: it may have been left while users were refused
        else:
            sock = self._make(port, socket.SOCK_STREAM, lambda share: listen(host, port, options, share=share))
        return self._note(sock)

    def path(self, path: str, *, replacing: int = 0) -> socket.socket:
        """Return a socket that listens at `path`, also in place of the process `replacing`; raises OSError."""
        sock = self._take(path, 0, socket.SOCK_STREAM)
        if sock and not Path(path).is_socket():  # with a service's runtime directory its sockets go as well
            self._spares.replace(sock)
            sock = None
        if sock:
            sock.listen(BACKLOG)
        return self._note(sock or listen_at(path, replacing=replacing))

    def datagrams(self, host: str, port: int) -> socket.socket:
        """See Opener."""
        host = self.hosts.address(host)
        sock = self._take(host, port, socket.SOCK_DGRAM)
        if sock:
            prepare_datagrams(sock)
        else:
            sock = self._make(port, socket.SOCK_DGRAM, lambda share: bind_datagrams(host, port, share=share))
        return self._note(sock)

    def claim(self, host: str, port: int) -> None:
        """Leave what is inherited on this address to the monitoring page, which opens after the rest."""
        self._claimed = set(self._names(host, port))

    def page(self, host: str, port: int) -> socket.socket | None:
        """Return a Unix socket, or an inherited socket, for the monitoring page; None: it opens another one by itself.

        Raises OSError.
        """
        if host.startswith("/"):
            return self.path(host, replacing=self._predecessor)
        found = next((name for name in self._names(host, port) if name in self._spares), "")
        return self._note(self._spares.take(found)) if found else None

    def settle(self) -> None:
        """Let go of all that is not in use: what the configuration wants is open by now.

        Of the service manager's own sockets those go that have never been in use: a reload may want the others again.
        """
        self.shared = False
        self._predecessor = 0
        useless = [name for name in self._spares if not self._living(name) and name not in self._claimed]
        unwanted = [name for name in useless if self._spares.lent(name) and name not in self._open]
        if unwanted:
            log.warning(
                "socket %s of the service manager: nothing in the configuration listens there, closed; remove it from "
                "the .socket unit, or name it in bind_addr, ports, or web_bind and web_port",
                self._spares.describe(unwanted),
            )
        for name in useless:
            if name in unwanted or not self._spares.lent(name):
                self._spares.discard(name)

    def close(self) -> None:
        """Close what is not in use, and leave what the depot keeps to the next process."""
        self.hosts.close()
        self._spares.close()

    def share(self) -> None:
        """Let the next process listen on the same ports, beside this one, except on those that are withheld."""
        for name in self._shareable():
            with contextlib.suppress(OSError):
                self._open[name].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def prefer_newer(self) -> None:
        """Have the kernel send all new connections of shared TCP ports to the next process.

        Otherwise it sends half of them here, and this process would reset those that it closes its sockets on.
        """
        program = array.array("B", struct.pack("=HBBI", _RETURN, 0, 0, _NEWER))
        address, _ = program.buffer_info()
        for name in self._shareable():
            with contextlib.suppress(OSError):  # nobody shares this one, or users are refused
                self._open[name].setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", 1, address))

    def withhold(self, sock: socket.socket) -> socket.socket:
        """Never share the port of this socket, which is returned; the next process gets it after this one."""
        self._withheld.add(name_of(sock))
        return sock

    def _shareable(self) -> list[str]:
        return [name for name in self._open if name not in self._withheld and self._living(name)]

    def _living(self, name: str) -> bool:
        return name in self._open and self._open[name].fileno() >= 0

    def _take(self, host: str, port: int, kind: socket.SocketKind) -> socket.socket | None:
        names = (join(kind, *address) for address in addresses(host, port)) if self._spares else ()
        return next(
            (self._spares.take(name) for name in names if name in self._spares and not self._living(name)), None
        )

    def _names(self, host: str, port: int) -> list[str]:
        """Return the names of a page's sockets; a host name that is not known yet has none."""
        if not self._spares:
            return []
        try:
            return [join(socket.SOCK_STREAM, *address) for address in addresses(self.hosts.address(host), port)]
        except OSError:
            return []

    def _renew(self, old: socket.socket, host: str, port: int, options: SocketOptions) -> socket.socket:
        """Return a new socket in place of an inherited one, or that if there can't be another.

        Both share the port for a moment: the depot may take that long to close its copy.
        """
        old.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock = listen(host, port, options, share=True)
        except OSError:  # made by another user, as DynamicUser= of systemd may do
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
        """Close what was inherited on this port, for another address; return whether there was anything."""
        same = [name for name in self._spares if name.startswith(join(kind, "", port)) and not self._living(name)]
        useless = [name for name in same if not self._spares.lent(name)]
        for name in useless:
            self._spares.discard(name)
        return bool(useless)

    def _note(self, sock: socket.socket) -> socket.socket:
        """Remember the socket; where a depot keeps it, a copy stays here for whoever opens the same port again."""
        name = name_of(sock)
        self._open[name] = sock
        self._withheld.discard(name)
        self._spares.note(name, sock)
        return sock


class WithheldListeners:
    """Opens sockets whose ports are not shared: those that a client dials.

    A tunnel connection that the client dials for a user here is worth nothing to the next process.
    """

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners

    def streams(self, host: str, port: int, options: SocketOptions) -> socket.socket:
        """See Opener. The client must reach the process that it has dialled, as long as that lives."""
        if host.startswith("/"):
            return self._listeners.withhold(self._listeners.path(host))
        return self._listeners.withhold(self._listeners.streams(host, port, options))

    def datagrams(self, host: str, port: int) -> socket.socket:
        """See Opener."""
        return self._listeners.withhold(self._listeners.datagrams(host, port))
