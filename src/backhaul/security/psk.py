"""Pre-shared keys of the handshake, made of the tokens of the configuration."""

import functools
import hashlib
import hmac
import threading
from typing import Final

GENERATED: Final = b"bh1_"
"""The prefix of the tokens of ``backhaul token``, which hold 256 random bits."""

AT_ONCE: Final = 2
"""Keys that are made at a time, each in 32 MiB: a process with 20 clients took 240 MB at its start without a limit."""

_RANDOM_SIZE: Final = 43  # characters of 256 bits in base64
_LABEL: Final = b"backhaul pre-shared key 1"
# 32 MiB and some 100 ms for each guess at a token that a person has chosen (RFC 7914; the interactive parameters of its
# author, once more doubled).
_COST: Final = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 1 << 26}
_places: Final = threading.BoundedSemaphore(AT_ONCE)


@functools.lru_cache(maxsize=1 << 12)
def pre_shared_key(token: bytes) -> bytes:
    """Return the key of a token, 32 bytes. That of a token not made by ``backhaul token`` takes 100 ms, once."""
    if is_strong(token):
        return hmac.digest(_LABEL, token, "sha256")
    with _places:
        return hashlib.scrypt(token, salt=_LABEL, dklen=32, **_COST)


def is_strong(token: bytes) -> bool:
    """Return whether guessing this token is hopeless, because ``backhaul token`` has made it."""
    return token.startswith(GENERATED) and len(token) >= len(GENERATED) + _RANDOM_SIZE
