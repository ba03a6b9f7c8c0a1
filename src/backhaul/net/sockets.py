"""Sockets as the configuration wants them: options, listeners."""

import errno
import socket
from typing import Any, NamedTuple

from .congestion import avoid_pacing, local
from .endpoints import learn_destinations
from .udp import prepare

# Kernel checks of a control channel, so that a peer that vanished is noticed within 60 s however the
# heartbeat is set: silent for 15 s -> 4 probes, 5 s apart; unanswered bytes -> 30 s.
CONTROL_IDLE, CONTROL_INTERVAL, CONTROL_PROBES = 15, 5, 4
CONTROL_UNANSWERED_MS = 30_000
# An idle tunnel connection is probed as soon: many a NAT forgets what was silent for half a minute (RFC 5382, REQ-5,
# wants two hours), and the probes remind it. With a user on it the probes go on, further apart: no outage of less than
# a minute outlasts all four of them.
TUNNEL_IDLE, IDLE_INTERVAL, USED_INTERVAL = 15, 5, 20
PROBES = CONTROL_PROBES  # unanswered ones, of whatever connection: the system's 9 keep a ghost for ten periods
_HAS_INTERVAL = hasattr(socket, "TCP_KEEPINTVL")
EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # Go, and so v0.7.2, listens on both families for each of them
_PRIVILEGED = 1024  # ip_unprivileged_port_start, unless the administrator has changed it
_LOW_PORT = (
    "permission denied; ports below 1024 are for root: `backhaul service install` allows them, as do "
    "AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit of your own and setcap(8)"
)
BACKLOG = 4096  # pending connections; the kernel lowers it to net.core.somaxconn
_LASTING = (
    (socket.IPPROTO_TCP, socket.TCP_MAXSEG),
    (socket.SOL_SOCKET, socket.SO_RCVBUF),
    (socket.SOL_SOCKET, socket.SO_SNDBUF),
)
# The user is hurt, not the listener: carry on with the next one (accept(2), "Error handling").
TRANSIENT_ACCEPT = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EPERM})
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class SocketOptions(NamedTuple):
    """What the configuration says about a TCP socket; 0 means "as the system has it"."""

    nodelay: bool = False
    keepalive: int = 0  # seconds of silence before the kernel probes the peer, ...
    interval: int = 0  # ... and between its probes; 0 means as many
    mss: int = 0  # bytes
    rcvbuf: int = 0  # bytes
    sndbuf: int = 0  # bytes

    def apply(self, sock: socket.socket, host: str = "") -> None:
        """Set the options; buffers and segment size only count before the connection is made.

        To a `host` on this machine needs no probes: the kernel knows what becomes of both ends.
        """
        if self.nodelay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.keepalive and not local(host):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _set(sock, "TCP_KEEPIDLE", self.keepalive)
            _set(sock, "TCP_KEEPINTVL", self.interval or self.keepalive)
            _set(sock, "TCP_KEEPCNT", PROBES)
        if self.mss:
            _set(sock, "TCP_MAXSEG", self.mss)
        if self.rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.rcvbuf)
        if self.sndbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.sndbuf)

    def renew(self, sock: socket.socket) -> None:
        """Set the options of a listening socket that may have had others."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, self.nodelay)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, self.keepalive > 0)
        self.apply(sock)

    def fits(self, sock: socket.socket) -> bool:
        """Return whether a listening socket has the segment size and the buffers, which can't be set back."""
        with socket.socket(sock.family, sock.type) as fresh:
            self.apply(fresh)
            return all(sock.getsockopt(*option) == fresh.getsockopt(*option) for option in _LASTING)


def watch_closely(sock: socket.socket) -> None:
    """Let the kernel notice soon when the other end of this control channel has vanished."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    _set(sock, "TCP_KEEPIDLE", CONTROL_IDLE)
    _set(sock, "TCP_KEEPINTVL", CONTROL_INTERVAL)
    _set(sock, "TCP_KEEPCNT", CONTROL_PROBES)
    _set(sock, "TCP_USER_TIMEOUT", CONTROL_UNANSWERED_MS)


def expect_outages(sock: socket.socket) -> None:
    """Be patient with the other end of a tunnel connection that carries a user from now on."""
    if _HAS_INTERVAL:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, USED_INTERVAL)


def _set(sock: socket.socket, option: str, value: int) -> None:
    if hasattr(socket, option):  # not every system has every option
        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def listen(host: str, port: int, options: SocketOptions, *, share: bool = False) -> socket.socket:
    """Return a listening socket on `host`; OSError if it can't be had.

    "", "0.0.0.0" and "::" are all addresses of both families. `share` the port with sockets that allow it.
    Accepted sockets inherit the options on Linux, which saves five system calls a connection.
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
    """Return a UDP socket bound to `host`, which is read as by `listen`; OSError if it can't be had.

    Bound to a wildcard, it tells which address each datagram was sent to.
    """
    sock = _bindable(host, port, socket.SOCK_DGRAM, share=share)
    prepare_datagrams(sock)
    return sock


def prepare_datagrams(sock: socket.socket) -> None:
    """Set the options of a bound UDP socket."""
    prepare(sock)
    learn_destinations(sock)


def addresses(host: str, port: int) -> list[tuple[str, int]]:
    """Return where a socket may be bound that serves this host; a path stands for itself."""
    if host.startswith("/"):  # a Unix socket
        return [(host, port)]
    if host in EVERYWHERE:
        return [("::", port), ("0.0.0.0", port)]
    address = socket.getaddrinfo(host, port, flags=socket.AI_PASSIVE)[0][4]
    return [(str(address[0]), port)]


def _bindable(host: str, port: int, kind: socket.SocketKind, *, share: bool) -> socket.socket:
    if host in EVERYWHERE and socket.has_dualstack_ipv6():
        try:
            return _bind(socket.AF_INET6, ("::", port), kind, v6only=False, share=share)
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:  # IPv6 switched off: IPv4 it is
                raise
    family, _, _, _, address = socket.getaddrinfo(host or "0.0.0.0", port, type=kind, flags=socket.AI_PASSIVE)[0]
    return _bind(family, address, kind, v6only=True, share=share)


def _bind(
    family: int, address: tuple[Any, ...], kind: socket.SocketKind, *, v6only: bool, share: bool
) -> socket.socket:
    sock = socket.socket(family, kind)
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
