"""The kernel's figures of a TCP connection: ``struct tcp_info`` of <linux/tcp.h>."""

import socket
import struct
from typing import Final, NamedTuple, Self

_HEAD: Final = struct.Struct("8x24I32x2I")
"""Eight bytes, 24 numbers from ``tcpi_rto`` to ``tcpi_total_retrans``, four long ones, and both counts of segments."""
_SND_MSS, _RTT, _TOTAL_RETRANS, _SEGS_OUT = 2, 15, 23, 24


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

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """Ask the kernel."""
        if not hasattr(socket, "TCP_INFO") or sock.family == socket.AF_UNIX:
            return cls()
        data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _HEAD.size)
        if len(data) < _HEAD.size:  # a kernel before Linux 4.2
            return cls()
        fields = _HEAD.unpack(data)
        return cls(fields[_SND_MSS], fields[_SEGS_OUT], fields[_TOTAL_RETRANS], fields[_RTT] / 1e6)
