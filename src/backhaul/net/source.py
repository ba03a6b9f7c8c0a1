"""The address from which this machine reaches another one."""

import ipaddress
import socket
from typing import Final

from .sockets import SocketOptions

_DISCARD: Final = 9  # the port of RFC 863; nothing is sent there


def source_of(address: str, options: SocketOptions) -> str:
    """Return the local address of a new connection to ``address``; empty while there is no way, or for a name.

    connect(2) on a datagram socket chooses the way, and sends nothing.
    """
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET  # noqa: PLR2004
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            options.steer(sock)
            sock.connect((address, _DISCARD))
            return str(sock.getsockname()[0])
    except (OSError, ValueError):
        return ""
