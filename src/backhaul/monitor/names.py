"""The host names accepted for the page, as a protection from DNS rebinding.

A website can point its own name to an address of this machine or its network. Its script then reads the page through a
visitor's browser as part of the website. This is useful through browsers that are closer to the page than the website,
with a loopback or private address, whether that of the page is public or not. It requires a name that anyone can
register.
"""

import ipaddress
import socket
from typing import Final

from backhaul.addresses import LOCAL

# Names without a dot, and those below domains that cannot be registered (RFC 6761, 6762, 8375; .internal: ICANN 2024).
_PRIVATE_DOMAINS: Final = (".localhost", ".local", ".internal", ".home.arpa", ".test")


def expected(host: str, peer: str) -> bool:
    """Return whether a visitor from the address ``peer`` may use ``host`` in the header Host.

    No browser connects to a Unix socket by itself, so a peer there is a proxy.
    """
    if peer == LOCAL:
        return True
    name = _name(host).lower().removesuffix(".")
    return _is_public(peer) or _is_private(name) or name == socket.gethostname().lower()


def _name(host: str) -> str:
    """Return the host of ``host:port``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_private(name: str) -> bool:
    if "." not in name or name.endswith(_PRIVATE_DOMAINS):
        return True  # includes IPv6 addresses
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
