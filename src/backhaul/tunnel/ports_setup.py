"""The part of the configuration that ports and their users depend on."""

import socket
from typing import Any

from backhaul.config import ServerConfig
from backhaul.config.schema import ProxyVersion
from backhaul.net.sockets import SocketOptions
from backhaul.wire import proxy


def user_options(config: ServerConfig) -> SocketOptions:
    """Return the options of users' connections."""
    # The target has decided in which pieces it sends. Nagle's algorithm here would hold the second piece of an answer
    # until the user's delayed acknowledgement of the first (measured: 44 ms).
    return SocketOptions(nodelay=True, keepalive=config.keepalive_period)


def takes_datagrams(config: ServerConfig) -> bool:
    """Return whether ports are open for UDP."""
    return config.facts.datagrams or config.accept_udp


def preface(version: ProxyVersion | None, sock: socket.socket, address: tuple[Any, ...]) -> bytes:
    """Return the header of the PROXY protocol for a user, or nothing without a version."""
    if not version:
        return b""
    if not address[1]:
        return proxy.header_without_addresses(version)
    return proxy.header(version, address, sock.getsockname())
