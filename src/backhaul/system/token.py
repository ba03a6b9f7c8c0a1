"""Tokens that can't be guessed."""

import secrets
from typing import Final

PREFIX: Final = "bh1_"
"""The beginning of tokens with 256 random bits; scanners for leaked secrets find them by it."""
_BYTES: Final = 32


def make_token() -> str:
    """Return a new token: the prefix and 43 letters, digits, ``-`` or ``_``."""
    return PREFIX + secrets.token_urlsafe(_BYTES)
