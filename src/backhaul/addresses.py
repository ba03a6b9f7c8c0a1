"""Addresses of peers, as logs and limits name them."""

from typing import Final

LOCAL: Final = "(local)"
"""Whoever connects over a Unix socket: there is no address."""


def plain_ip(address: tuple[str, ...] | tuple[str, int]) -> str:
    """Return the numeric address of a peer; an IPv4 peer of a dual-stack socket as plain IPv4."""
    return address[0].removeprefix("::ffff:").partition("%")[0]
