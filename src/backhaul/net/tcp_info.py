"""The kernel's figures of a TCP connection, first of all ``struct tcp_info`` of <linux/tcp.h>."""

import array
import fcntl
import socket
import struct
import termios
from typing import Final, NamedTuple, Self

from .options import info

_HEAD: Final = struct.Struct("2xB5x24I16xQ8xI16xI56xI")
"""``tcpi_retransmits`` among eight bytes, 24 numbers from ``tcpi_rto`` to ``tcpi_total_retrans``, and the acknowledged
bytes, both counts of sent segments and the needless ones among the rest."""
_RETRANSMITS, _RTO, _SND_MSS, _UNACKED, _LAST_ACK_RECV, _RTT, _TOTAL_RETRANS = 0, 1, 3, 5, 13, 16, 24
_BYTES_ACKED, _SEGS_OUT, _DATA_SEGS_OUT, _DSACK_DUPS = 25, 26, 27, 28


class TcpInfo(NamedTuple):
    """The figures of one connection; 0 where the system has none."""

    mss: int = 0
    """Bytes of payload in the largest segment that this end sends."""
    sent: int = 0
    """Segments sent."""
    resent: int = 0
    """Segments sent again, because they were lost or late."""
    needless: int = 0
    """Those of them that the peer had already, as far as it told."""
    round_trip: float = 0.0
    """Seconds to the peer's kernel and back, smoothed."""
    in_vain: int = 0
    """The number of consecutive retransmissions of unacknowledged bytes."""
    in_flight: int = 0
    """Segments sent and not acknowledged."""
    timeout: float = 0.0
    """Seconds from the last transmission to the next repetition."""
    arrived: int = 0
    """Bytes that the peer's kernel has acknowledged."""
    arrived_in: int = 0
    """The segments in which they were sent."""
    silence: float = 0.0
    """Seconds since the peer's kernel acknowledged anything."""

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """Ask the kernel."""
        fields = _HEAD.unpack(info(sock, _HEAD.size))
        return cls(
            mss=fields[_SND_MSS],
            sent=fields[_SEGS_OUT],
            resent=fields[_TOTAL_RETRANS],
            needless=fields[_DSACK_DUPS],
            round_trip=fields[_RTT] / 1e6,
            in_vain=fields[_RETRANSMITS],
            in_flight=fields[_UNACKED],
            arrived=fields[_BYTES_ACKED],
            arrived_in=max(0, fields[_DATA_SEGS_OUT] - fields[_TOTAL_RETRANS] - fields[_UNACKED]),
            timeout=fields[_RTO] / 1e6,
            silence=fields[_LAST_ACK_RECV] / 1e3,
        )


def unacknowledged(sock: socket.socket) -> int:
    """Return the bytes not acknowledged by the peer's kernel (SIOCOUTQ, tcp(7)); 0 for a closed socket."""
    count = array.array("i", [0])
    if sock.fileno() >= 0:
        fcntl.ioctl(sock, termios.TIOCOUTQ, count)
    return count[0]
