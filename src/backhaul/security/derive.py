"""Keys that are made of keys, with keyed BLAKE2b (RFC 7693).

Each user costs several; HMAC-SHA-256 takes three times as long here.
"""

import hashlib
from typing import Final, NamedTuple

SIZE: Final = 32
"""Bytes of a key or secret."""
_PERSON: Final = b"backhaul"
_STEP: Final = b"epoch"


class Step(NamedTuple):
    """The parts of a secret for its first epoch."""

    key: bytes
    secret: bytes
    """The secret of the epochs after it, which does not reveal the key."""

    def __repr__(self) -> str:
        return "Step(...)"


def function(secret: bytes, size: int = SIZE) -> hashlib.blake2b:
    """Return the function of a secret: a copy, updated with a purpose, yields ``size`` bytes."""
    return hashlib.blake2b(key=secret, digest_size=size, person=_PERSON)


def derive(secret: bytes, purpose: bytes) -> bytes:
    """Return another secret, indistinguishable from random bytes without ``secret``."""
    return hashlib.blake2b(purpose, key=secret, digest_size=SIZE, person=_PERSON).digest()


def step(secret: bytes) -> Step:
    """Return the key of the next epoch, and the secret of those after it."""
    both = hashlib.blake2b(_STEP, key=secret, digest_size=2 * SIZE, person=_PERSON).digest()
    return Step(both[:SIZE], both[SIZE:])
