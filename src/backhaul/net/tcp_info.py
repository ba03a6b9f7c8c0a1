"""The kernel's figures of a TCP connection, first of all ``struct tcp_info`` of <linux/tcp.h>."""

import array
import fcntl
import socket
import struct
import termios
from typing import Final, NamedTuple, Self

_HEAD: Final = struct.Struct("2xB5x24I32x2I")
"""``tcpi_retransmits`` among eight bytes, 24 numbers from ``tcpi_rto`` to ``tcpi_total_retrans``, four long ones, and
both counts of segments."""
_RETRANSMITS, _SND_MSS, _RTT, _TOTAL_RETRANS, _SEGS_OUT = 0, 3, 16, 24, 25


class TcpInfo(NamedTuple):
    """The figures of one connection; 0 where the system has none."""

    mss: int = 0
    """Bytes of payload in the largest segment that this end sends."""
    sent: int = 0
    """Segments sent."""
    resent: int = 0
    """Segments sent again, because they were lost or late."""
    round_trip: float = 0.0
    """Seconds to the peer's kernel and back, smoothed."""
    in_vain: int = 0
    """The number of consecutive retransmissions of unacknowledged bytes."""

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """Ask the kernel."""
        if not hasattr(socket, "TCP_INFO") or sock.family == socket.AF_UNIX:
            return cls()
        data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _HEAD.size)
        if len(data) < _HEAD.size:  # a kernel before Linux 4.2
            return cls()
        fields = _HEAD.unpack(data)
        return cls(
            fields[_SND_MSS], fields[_SEGS_OUT], fields[_TOTAL_RETRANS], fields[_RTT] / 1e6, fields[_RETRANSMITS]
        )


def unacknowledged(sock: socket.socket) -> int:
    """Return the bytes not acknowledged by the peer's kernel (SIOCOUTQ, tcp(7)); 0 for a closed socket."""
    count = array.array("i", [0])
    if sock.fileno() >= 0:
        fcntl.ioctl(sock, termios.TIOCOUTQ, count)
    return count[0]
