"""Counters of the bytes that users move."""

from typing import NamedTuple


class Meter:
    """Counts bytes; relays add to it."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Traffic(NamedTuple):
    """The meters of one port: bytes from users, and bytes to them."""

    received: Meter
    sent: Meter
