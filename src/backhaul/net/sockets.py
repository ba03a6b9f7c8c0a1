"""Listening and bound sockets, and the socket options of the configuration."""

import errno
import os
import socket
import struct
from typing import Any, Final, NamedTuple

from .congestion import avoid_pacing, local
from .endpoints import learn_destinations
from .options import offer, offer_tcp
from .udp import prepare

# Keep-alive of a control channel: a vanished peer is noticed within 60 s, whatever the heartbeat. After 15 s of silence
# come 4 probes, 5 s apart; unacknowledged bytes have 30 s.
CONTROL_IDLE, CONTROL_INTERVAL = 15, 5
CONTROL_UNANSWERED_MS = 30_000
# An idle tunnel connection is probed as early: many NATs forget connections after half a minute of silence (RFC 5382,
# REQ-5, requires two hours), and probes prevent that. With a user on it the probes are further apart, so that the
# connection survives any outage of less than a minute.
TUNNEL_IDLE, IDLE_INTERVAL, USED_INTERVAL = 15, 5, 20
PROBES = 4  # unanswered probes on any connection: the default of 9 keeps a dead one for ten periods
EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # for each of them Go, and so v0.7.2, listens on both families
_PRIVILEGED = 1024  # the default of ip_unprivileged_port_start
_LOW_PORT = (
    "permission denied, ports below 1024 require root; use `backhaul service install`, "
    "AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit of your own, or setcap(8)"
)
_SHORT: Final = 2  # fields of an IPv4 address
BACKLOG = 4096  # pending connections; the kernel lowers it to net.core.somaxconn
_LASTING = (
    (socket.IPPROTO_TCP, socket.TCP_MAXSEG),
    (socket.SOL_SOCKET, socket.SO_RCVBUF),
    (socket.SOL_SOCKET, socket.SO_SNDBUF),
)
# These errors concern one connection, not the listener (accept(2), "Error handling").
TRANSIENT_ACCEPT = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EPERM})
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_MARK: Final = getattr(socket, "SO_MARK", -1)  # both are Linux's; -1 is refused as an unknown option
_INTERFACE: Final = getattr(socket, "SO_BINDTODEVICE", -1)
_GRANT: Final = "run `backhaul service install` again, or add AmbientCapabilities={0} to a unit of your own"


class SocketOptions(NamedTuple):
    """The configured options of a TCP socket; 0 means the system's default."""

    nodelay: bool = False
    keepalive: int = 0  # seconds of silence before the kernel probes the peer
    interval: int = 0  # seconds between probes; 0 means as many as for `keepalive`
    mss: int = 0  # bytes
    rcvbuf: int = 0  # bytes
    sndbuf: int = 0  # bytes
    mark: int = 0  # for policy routing
    interface: str = ""  # the name of the only one to use

    def apply(self, sock: socket.socket, host: str = "") -> None:
        """Set the options; buffers and segment size have an effect only before the connection is made.

        Connections to a ``host`` on this machine need no probes, as the kernel knows the state of both ends.
        """
        # Otherwise recv(2) skips the byte that telnet and FTP mark as urgent. RFC 6093 recommends this.
        offer(sock, socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        if self.mark or self.interface:
            self.steer(sock)
        if self.nodelay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.keepalive and not local(host):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            offer_tcp(sock, "TCP_KEEPIDLE", self.keepalive)
            offer_tcp(sock, "TCP_KEEPINTVL", self.interval or self.keepalive)
            offer_tcp(sock, "TCP_KEEPCNT", PROBES)
        if self.mss:
            offer_tcp(sock, "TCP_MAXSEG", self.mss)
        if self.rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.rcvbuf)
        if self.sndbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.sndbuf)

    def steer(self, sock: socket.socket) -> None:
        """Choose the way of a socket of any kind before it connects; raise OSError with the key and the remedy."""
        if self.mark:
            try:
                sock.setsockopt(socket.SOL_SOCKET, _MARK, struct.pack("=I", self.mark))
            except OSError as error:
                raise _not_steered(f"mark = {self.mark}", "CAP_NET_ADMIN", error) from None
        if self.interface:
            try:
                sock.setsockopt(socket.SOL_SOCKET, _INTERFACE, self.interface.encode())
            except OSError as error:
                raise _not_steered(f'bind_interface = "{self.interface}"', "CAP_NET_RAW", error) from None

    def renew(self, sock: socket.socket) -> None:
        """Set the options of a listening socket, which may have others."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, self.nodelay)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, self.keepalive > 0)
        self.apply(sock)

    def fits(self, sock: socket.socket) -> bool:
        """Return whether a listening socket has this segment size and these buffers, which cannot be reset."""
        with socket.socket(sock.family, sock.type) as fresh:
            self.apply(fresh)
            return all(sock.getsockopt(*option) == fresh.getsockopt(*option) for option in _LASTING)


def _not_steered(setting: str, capability: str, error: OSError) -> OSError:
    """Return the error for an administrator; the kernel's own does not name the key."""
    number = error.errno or 0
    remedies = {
        errno.EPERM: f"not permitted without {capability}; {_GRANT.format(capability)}",
        errno.ENODEV: "this machine has no such interface at the moment; correct the name, or bring it up",
    }
    return OSError(number, f"{setting}: {remedies.get(number, os.strerror(number))}")


def watch_closely(sock: socket.socket) -> None:
    """Let the kernel notice early that the peer of this control channel has vanished."""
    SocketOptions(nodelay=True, keepalive=CONTROL_IDLE, interval=CONTROL_INTERVAL).apply(sock)
    offer_tcp(sock, "TCP_USER_TIMEOUT", CONTROL_UNANSWERED_MS)


def expect_outages(sock: socket.socket) -> None:
    """Space the probes of a tunnel connection that carries a user from now on."""
    offer_tcp(sock, "TCP_KEEPINTVL", USED_INTERVAL)


class TcpListener(socket.socket):
    """A listening TCP socket that accepts faster.

    The library makes two enums for each connection, which takes longer than the system call.
    """

    def accept(self) -> tuple[socket.socket, Any]:
        """Return a blocking socket and the address of its peer; raise OSError."""
        descriptor, address = self._accept()  # type: ignore[attr-defined]  # as the library does
        family = socket.AF_INET if len(address) == _SHORT else socket.AF_INET6
        return socket.socket(family, socket.SOCK_STREAM, 0, descriptor), address


def listen(host: str, port: int, options: SocketOptions, *, share: bool = False) -> socket.socket:
    """Return a listening socket on ``host``; raise OSError if it is not available.

    "", "0.0.0.0" and "::" mean all addresses of both families. ``share`` allows sharing the port with other sockets
    that do so. On Linux accepted sockets inherit the options, which saves five system calls for each connection.
    """
    sock = _bindable(host, port, socket.SOCK_STREAM, share=share)
    try:
        options.apply(sock)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def bind_datagrams(host: str, port: int, *, share: bool = False) -> socket.socket:
    """Return a UDP socket bound to ``host``, which is read as by ``listen``; raise OSError if it is not available.

    A socket bound to a wildcard reports the destination of each datagram.
    """
    sock = _bindable(host, port, socket.SOCK_DGRAM, share=share)
    prepare_datagrams(sock)
    return sock


def prepare_datagrams(sock: socket.socket) -> None:
    """Set the options of a bound UDP socket."""
    prepare(sock)
    learn_destinations(sock)


def addresses(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Return families and addresses to which a socket for this host may be bound; a path is returned unchanged."""
    if host.startswith("/"):
        return [(socket.AF_UNIX, (host, port))]
    if host in EVERYWHERE:
        return [(socket.AF_INET6, ("::", port)), (socket.AF_INET, ("0.0.0.0", port))]
    family, _, _, _, address = socket.getaddrinfo(host, port, flags=socket.AI_PASSIVE)[0]
    return [(family, address)]


def _bindable(host: str, port: int, kind: socket.SocketKind, *, share: bool) -> socket.socket:
    if host in EVERYWHERE and socket.has_dualstack_ipv6():
        try:
            return _bind(socket.AF_INET6, ("::", port), kind, v6only=False, share=share)
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:  # IPv6 is switched off: use IPv4
                raise
    family, _, _, _, address = socket.getaddrinfo(host or "0.0.0.0", port, type=kind, flags=socket.AI_PASSIVE)[0]
    return _bind(family, address, kind, v6only=True, share=share)


def _bind(
    family: int, address: tuple[Any, ...], kind: socket.SocketKind, *, v6only: bool, share: bool
) -> socket.socket:
    sock = TcpListener(family, kind) if kind == socket.SOCK_STREAM else socket.socket(family, kind)
    try:
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            avoid_pacing(sock, address[0])
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        sock.setblocking(False)
        sock.bind(address)
    except OSError as error:
        sock.close()
        if error.errno == errno.EACCES and address[1] < _PRIVILEGED:
            raise PermissionError(errno.EACCES, _LOW_PORT) from None
        raise
    return sock
