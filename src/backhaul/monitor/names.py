"""The names under which the page may be asked for: whether another website has led a browser here.

A website can have its own name point to an address of this machine or its network (DNS rebinding), and its script then
reads the page through the visitor's browser as part of itself. That is worth while through a browser that is closer to
the page than the website: one with a loopback or private address, be that of the page public or not. Only names that
anyone can register are of use for it.
"""

import ipaddress
import socket
from typing import Final

from backhaul.addresses import LOCAL

# Names without a dot, and those below domains that nobody can register (RFC 6761, 6762, 8375; .internal: ICANN 2024).
_PRIVATE_DOMAINS: Final = (".localhost", ".local", ".internal", ".home.arpa", ".test")


def expected(host: str, peer: str) -> bool:
    """Return whether a visitor from the address `peer` may name the page `host`, as the header Host does.

    No browser reaches a Unix socket by itself, so whoever comes that way is a proxy.
    """
    if peer == LOCAL:
        return True
    name = _name(host).lower().removesuffix(".")
    return _is_public(peer) or _is_private(name) or name == socket.gethostname().lower()


def _name(host: str) -> str:
    """Return the host of `host:port`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_private(name: str) -> bool:
    if "." not in name or name.endswith(_PRIVATE_DOMAINS):
        return True  # an IPv6 address as well
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
