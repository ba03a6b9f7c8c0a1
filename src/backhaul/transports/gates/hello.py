"""The first bytes of a TLS connection, read before OpenSSL gets them."""

import struct
from typing import Final

_HANDSHAKE: Final = 0x16
_SSLV2: Final = 0x80  # the high bit of a length, with which a hello of SSL 2 begins
_CLIENT_HELLO: Final = 1
_ALPN: Final = 16  # RFC 7301
NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
"""The alert with which nginx refuses a client that offers only protocols that it does not speak."""


def looks_like_tls(data: bytes) -> bool:
    """Return whether a connection that begins with ``data``, at least one byte, goes to OpenSSL."""
    return data[0] == _HANDSHAKE or bool(data[0] & _SSLV2)


def offered_protocols(data: bytes) -> list[bytes]:
    """Return the protocols that a ClientHello offers with ALPN; empty if it has no ALPN or is incomplete."""
    try:
        return _read_protocols(data)
    except (struct.error, IndexError):
        return []


def _read_protocols(data: bytes) -> list[bytes]:
    kind, _, length = struct.unpack_from("!BHH", data)
    if kind != _HANDSHAKE or len(data) < 5 + length or data[5] != _CLIENT_HELLO:
        return []
    at = 5 + 4 + 2 + 32  # record, handshake, version, random
    at += 1 + data[at]  # session
    at += 2 + struct.unpack_from("!H", data, at)[0]  # ciphers
    at += 1 + data[at]  # compression
    end = at + 2 + struct.unpack_from("!H", data, at)[0]
    at += 2
    while at < end:
        extension, size = struct.unpack_from("!HH", data, at)
        if extension == _ALPN:
            return _read_names(data[at + 6 : at + 4 + size])
        at += 4 + size
    return []


def _read_names(data: bytes) -> list[bytes]:
    names = []
    while data:
        names.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return names
