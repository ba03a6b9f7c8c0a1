"""Congestion control of connections that stay on this machine, such as those to most targets.

BBR, the default of some systems and what our own kernel tuning chooses, sends by timers at the rate that it has
measured. On a long line that pays; within a machine, where nothing can be congested, it makes a stream of small pieces
of what was one large write: half the throughput of a relay at twice the CPU time (docs/benchmarks.md).
"""

import contextlib
import functools
import socket
from typing import Final

_PACED: Final = b"bbr"  # and whatever comes after it: bbr2, bbr3
_PLAIN: Final = (b"cubic", b"reno")  # the usual default; the one that every kernel has and allows
_NAME_MAX: Final = 16  # bytes, with the zero (TCP_CA_NAME_MAX of <net/tcp.h>)


def avoid_pacing(sock: socket.socket, host: str) -> None:
    """Take BBR off a TCP socket that listens on, is connected or will connect to `host`, if that is a loopback address.

    Best before the connection is made: accepted sockets inherit it, and BBR leaves its timers behind. Never raises.
    """
    if (name := unpaced()) and local(host):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)


def local(host: str) -> bool:
    """Return whether a numeric address is one of the loopback interface."""
    return host.startswith(("127.", "::ffff:127.")) or host == "::1"


@functools.cache
def unpaced() -> bytes:
    """Return what to use within this machine; nothing where the system's default is as good. Asks the kernel once."""
    if not hasattr(socket, "TCP_CONGESTION"):
        return b""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        if not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_MAX).startswith(_PACED):
            return b""
        for name in _PLAIN:
            with contextlib.suppress(OSError):  # not in tcp_allowed_congestion_control
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
                return name
    return b""
