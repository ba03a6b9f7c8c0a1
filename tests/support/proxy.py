"""A decoder of PROXY protocol version 2, written from its specification (proxy-protocol.txt, section 2.2) alone."""

import socket
import struct
from typing import NamedTuple


class ProxyHeader(NamedTuple):
    """The addresses of a connection, and the bytes after the header."""

    source: tuple[str, int]
    destination: tuple[str, int]
    rest: bytes


def decode(data: bytes) -> ProxyHeader:
    """Decode the header at the beginning of ``data``; AssertionError if it is not that of a TCP connection."""
    assert data[:12].hex() == "0d0a0d0a000d0a515549540a"
    version_and_command, family_and_protocol, length = struct.unpack_from("!BBH", data, 12)
    assert version_and_command == 0x21, "version 2, command PROXY"
    family, size = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}[family_and_protocol]
    assert length == 2 * size + 4
    body, rest = data[16 : 16 + length], data[16 + length :]
    assert len(body) == length
    source, destination = (socket.inet_ntop(family, body[start : start + size]) for start in (0, size))
    ports = struct.unpack_from("!HH", body, 2 * size)
    return ProxyHeader((source, ports[0]), (destination, ports[1]), rest)
