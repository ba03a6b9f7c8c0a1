"""Both addresses of a flow, on UDP sockets bound to a wildcard.

A machine with several addresses answers from the one that its routes prefer. Peers and NATs drop an answer from another
address than the one they sent to. Therefore such a socket asks the kernel for the destination of each datagram
(IP_PKTINFO of ip(7), IPV6_PKTINFO of ipv6(7) and RFC 3542), and uses it as the source of the answer.
"""

import errno
import socket
import struct
import sys
from typing import Any

from .options import lacks, offer

Ancillary = tuple[int, int, bytes]
Endpoint = tuple[Any, Ancillary]
"""The peer's address, and the local one as the ancillary data of an answer. A plain tuple, as each read makes one."""
Address = Any
"""An ``Endpoint`` on sockets that learn destinations, otherwise an address of the socket module. Hashable."""

_LINUX = sys.platform == "linux"
# Plain integers compare faster than the enumerations of the socket module, which lacks some of them.
_IPV4, _IP_PKTINFO = 0, 8  # <linux/in.h>
_IPV6, _IPV6_PKTINFO, _IPV6_RECVPKTINFO = 41, 50, 49  # <linux/in6.h>
_UDP, UDP_GRO = 17, 104  # <linux/udp.h>; the socket module has no name for it
_PKTINFO_SIZE = 20  # bytes of struct in6_pktinfo; struct in_pktinfo is shorter
ROOM = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(_PKTINFO_SIZE) if _LINUX else 0  # for UDP_GRO and the address
_SIZE = struct.Struct("=i")
_ANY_INTERFACE = bytes(4)  # the kernel routes the answer; only link-local addresses need their interface
_LINK_LOCAL = 0xFE  # the first byte of fe80::/10, and of no other range in use
_WILDCARDS = frozenset({"0.0.0.0", "::"})
# The local address has been removed; ENETUNREACH: it never had a route to this peer.
NO_SUCH_SOURCE = frozenset({errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH})


def learn_destinations(sock: socket.socket) -> None:
    """Let a socket bound to a wildcard report the destination of each datagram."""
    if _LINUX and sock.getsockname()[0] in _WILDCARDS:
        offer(sock, *_option(sock), 1)


def learns_destinations(sock: socket.socket) -> bool:
    """Return whether the socket identifies peers by an ``Endpoint``."""
    try:
        return _LINUX and bool(sock.getsockopt(*_option(sock)))
    except OSError as error:
        if lacks(error):
            return False
        raise


def peer_of(address: Address) -> Any:  # noqa: ANN401 - depends on the family
    """Return the peer's address in the form of the socket module."""
    return address[0] if isinstance(address[0], tuple) else address


def _option(sock: socket.socket) -> tuple[int, int]:
    """Return level and name of the option; IPv4 peers of a dual-stack socket have mapped addresses."""
    return (_IPV6, _IPV6_RECVPKTINFO) if sock.family == socket.AF_INET6 else (_IPV4, _IP_PKTINFO)


def interpret(ancillary: list[Ancillary], count: int, peer: Address) -> tuple[int, Address]:
    """Return the size of the datagrams in a read of ``count`` bytes, and their sender."""
    size = count
    for level, kind, data in ancillary:
        if level == _IPV6 and kind == _IPV6_PKTINFO:
            peer = peer, (level, kind, data if data[0] == _LINK_LOCAL else data[:16] + _ANY_INTERFACE)
        elif level == _UDP and kind == UDP_GRO:
            size = _SIZE.unpack(data)[0]
        elif level == _IPV4 and kind == _IP_PKTINFO:
            peer = peer, (level, kind, _ANY_INTERFACE + data[4:8] + _ANY_INTERFACE)
    return size, peer
