"""Congestion control of connections within this machine, such as those to most targets.

BBR, the default of some systems and of this program's kernel tuning, sends by timers at a measured rate. That helps on
long lines. Within a machine, which has no congestion, it splits large writes into small pieces: a relay has half the
throughput at twice the CPU time (docs/benchmarks.md).
"""

import contextlib
import functools
import socket
from typing import Final

_PACED: Final = b"bbr"  # a prefix: bbr2 and bbr3 as well
_PLAIN: Final = (b"cubic", b"reno")  # the usual default, and the one that every kernel has and allows
_NAME_MAX: Final = 16  # bytes, with the zero (TCP_CA_NAME_MAX of <net/tcp.h>)


def avoid_pacing(sock: socket.socket, host: str) -> None:
    """Replace BBR on a TCP socket that listens on ``host`` or connects to it, if that is a loopback address.

    Call it before the connection is made: accepted sockets inherit the choice, and timers of BBR survive a change.
    Never raises.
    """
    if (name := unpaced()) and local(host):
        try:  # noqa: SIM105 - for each user of a client, and `contextlib.suppress` takes three calls of Python
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
        except OSError:
            pass


def local(host: str) -> bool:
    """Return whether a numeric address belongs to the loopback interface."""
    return host.startswith(("127.", "::ffff:127.")) or host == "::1"


@functools.cache
def unpaced(paced: bytes = _PACED, plain: tuple[bytes, ...] = _PLAIN) -> bytes:
    """Return the first of ``plain`` that is allowed, empty if the default is not ``paced``; ask the kernel once."""
    if not hasattr(socket, "TCP_CONGESTION"):
        return b""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        if not _control_of(sock).startswith(paced):
            return b""
        for name in plain:
            with contextlib.suppress(OSError):  # missing in tcp_allowed_congestion_control
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
                return name
    return b""


def _control_of(sock: socket.socket) -> bytes:
    """Return the name of a socket's congestion control; empty if the kernel does not tell."""
    with contextlib.suppress(OSError):
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_MAX)
    return b""
