"""Addresses of peers for logs and limits."""

from typing import Final

LOCAL: Final = "(local)"
"""The address of peers on Unix sockets, which have none."""


def plain_ip(address: tuple[str, ...] | tuple[str, int]) -> str:
    """Return the numeric address of a peer; IPv4 peers of a dual-stack socket as plain IPv4."""
    return address[0].removeprefix("::ffff:").partition("%")[0]
