"""Bytes as text of letters, digits, ``-`` and ``_`` (base64url of RFC 4648, section 5, without ``=`` at the end)."""

import binascii
from contextlib import suppress
from typing import Final

_SWAPPED: Final = bytes.maketrans(b"-_+/", b"+/-_")  # the letters of base64url, and those that it replaces


def size(count: int) -> int:
    """Return the number of characters for ``count`` bytes."""
    return -(-4 * count // 3)


def encode(data: bytes) -> bytes:
    """Return ``data`` as text."""
    return binascii.b2a_base64(data, newline=False).translate(_SWAPPED).rstrip(b"=")


def decode(text: bytes | memoryview) -> bytes:
    """Return the bytes of a text; none if it is no such text."""
    with suppress(binascii.Error):
        return binascii.a2b_base64(bytes(text).translate(_SWAPPED) + b"=" * (-len(text) % 4), strict_mode=True)
    return b""
