"""The part of the configuration that ports and their users depend on."""

import functools
import socket
from collections.abc import Callable
from typing import Any

from backhaul.config import ServerConfig
from backhaul.config.proxied_ports import Proxied
from backhaul.net.sockets import SocketOptions
from backhaul.wire import proxy


def user_options(config: ServerConfig) -> SocketOptions:
    """Return the options of users' connections."""
    # The target has decided in which pieces it sends. Nagle's algorithm here would hold the second piece of an answer
    # until the user's delayed acknowledgement of the first (measured: 44 ms).
    return SocketOptions(nodelay=True, keepalive=config.keepalive_period)


Preface = Callable[[int, socket.socket, tuple[Any, ...]], bytes]
"""Returns the bytes for a target before those of a user with this address, of the port with this number."""


def preface_of(config: ServerConfig) -> Preface:
    """Return the maker of the header of the PROXY protocol, or of nothing without a version."""
    return functools.partial(_header, config.proxied) if config.proxied else _nothing


def _nothing(_port: int, _sock: socket.socket, _address: tuple[Any, ...]) -> bytes:
    return b""


def _header(proxied: Proxied, port: int, sock: socket.socket, address: tuple[Any, ...]) -> bytes:
    version = proxied.version(port)
    if not version:
        return b""
    if not address[1]:
        return proxy.header_without_addresses(version)
    return proxy.header(version, address, sock.getsockname())
