"""Socket options that not every kernel has.

Old kernels lack some, and so may WSL 1, sandboxes, and sockets of Multipath TCP. The connection works without them,
only less well.
"""

import errno
import socket
from collections.abc import Iterable
from typing import Final

Option = tuple[int, int, int]
"""Level, name and value."""

_INFO: Final = getattr(socket, "TCP_INFO", -1)
_LACKING: Final = frozenset({errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


def lacks(error: OSError) -> bool:
    """Return whether a call failed because the kernel does not know the option."""
    return error.errno in _LACKING


def offer(sock: socket.socket, level: int, name: int, value: int) -> None:
    """Set an option if the kernel has it. Raises OSError for a broken socket."""
    try:
        sock.setsockopt(level, name, value)
    except OSError as error:
        if not lacks(error):
            raise


def offer_tcp(sock: socket.socket, option: str, value: int) -> None:
    """Set an option of TCP, named as in the socket module, if the system has it. Raises OSError for a broken socket."""
    if hasattr(socket, option):
        offer(sock, socket.IPPROTO_TCP, getattr(socket, option), value)


def info(sock: socket.socket, size: int) -> bytes:
    """Return the first ``size`` bytes of ``struct tcp_info`` (<linux/tcp.h>); those that the kernel lacks are zero.

    Raises OSError for a broken socket.
    """
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _INFO, size).ljust(size, b"\0")
    except OSError as error:
        if not lacks(error):
            raise
        return bytes(size)


def replace(sock: socket.socket, options: Iterable[Option]) -> list[Option]:
    """Set those options that the kernel has; return them with their former values. Raises OSError."""
    former = []
    for level, name, value in options:
        try:
            former.append((level, name, sock.getsockopt(level, name)))
        except OSError as error:
            if not lacks(error):
                raise
        else:
            sock.setsockopt(level, name, value)
    return former
