"""Headers of the PROXY protocol, version 1 and 2 (haproxy.org, proxy-protocol.txt, sections 2.1 and 2.2)."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Literal

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_VERSION_2_PROXY = 0x21  # version 2, command PROXY
_VERSION_2_LOCAL = 0x20  # version 2, command LOCAL: the receiver uses the addresses of the connection itself
_UNKNOWN = b"PROXY UNKNOWN\r\n"
_TCP4, _TCP6 = 0x11, 0x21  # address family and SOCK_STREAM
_HEAD = Struct("!12sBBH")
_PORTS = Struct("!HH")

Version = Literal["v1", "v2"]
_Address = IPv4Address | IPv6Address


def header(version: Version, source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """Return the header with the user's address, ``source``, and the local address of its connection, ``destination``.

    IPv4 users of a dual-stack listener appear as IPv4. Raises ValueError if an address is not numeric.
    """
    encode = _text if version == "v1" else _binary
    return encode(_plain(source[0]), _plain(destination[0]), source[1], destination[1])


def header_without_addresses(version: Version) -> bytes:
    """Return the header for a user of a Unix socket, who has no address."""
    return _UNKNOWN if version == "v1" else _HEAD.pack(SIGNATURE, _VERSION_2_LOCAL, 0, 0)


def _text(source: _Address, destination: _Address, source_port: int, destination_port: int) -> bytes:
    if source.version != destination.version:  # the text has no form for both families
        return _UNKNOWN
    return f"PROXY TCP{source.version} {source} {destination} {source_port} {destination_port}\r\n".encode()


def _binary(source: _Address, destination: _Address, source_port: int, destination_port: int) -> bytes:
    hosts = [source, destination]
    both_v4 = all(isinstance(host, IPv4Address) for host in hosts)
    packed = [host.packed if both_v4 else _as_v6(host).packed for host in hosts]
    body = b"".join(packed) + _PORTS.pack(source_port, destination_port)
    return _HEAD.pack(SIGNATURE, _VERSION_2_PROXY, _TCP4 if both_v4 else _TCP6, len(body)) + body


def _plain(host: str) -> _Address:
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _as_v6(address: _Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")
