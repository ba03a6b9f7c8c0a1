"""ICMP messages as routers and firewalls send them, which only root may invent."""

import socket
import struct

UNREACHABLE = 3
ICMP = struct.Struct("!BBHI")
IPV4 = struct.Struct("!BBHHHBBH4s4s")
UDP = struct.Struct("!HHHH")


def may_refuse() -> bool:
    """Return whether this process may send such messages."""
    try:
        _raw().close()
    except PermissionError:
        return False
    return True


def refuse(sock: socket.socket, code: int) -> None:
    """Tell a connected IPv4 socket of UDP that its last datagram has not arrived (RFC 792, RFC 1812, 5.2.7.1)."""
    (host, port), (peer, peer_port) = sock.getsockname(), sock.getpeername()
    size = IPV4.size + UDP.size
    lost = IPV4.pack(0x45, 0, size, 0, 0, 64, socket.IPPROTO_UDP, 0, socket.inet_aton(host), socket.inet_aton(peer))
    lost += UDP.pack(port, peer_port, UDP.size, 0)
    checksum = _checksum(ICMP.pack(UNREACHABLE, code, 0, 0) + lost)
    with _raw() as raw:
        raw.sendto(ICMP.pack(UNREACHABLE, code, checksum, 0) + lost, (host, 0))


def _raw() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def _checksum(message: bytes) -> int:
    """Return the checksum of RFC 1071."""
    total = sum(int.from_bytes(message[at : at + 2]) for at in range(0, len(message), 2))
    return 0xFFFF - total % 0xFFFF
