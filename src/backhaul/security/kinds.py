"""The kinds of records on a tunnel connection, in either direction, and the padding of targets."""

from typing import Final

from backhaul.wire.targets import MAX_TARGET

from .records import RecordError

DATA: Final = 0
"""Bytes of a user or target."""
TCP: Final = 1
"""The target of a user's bytes, which the client dials."""
UDP: Final = 2
"""The target of a user's datagrams."""
END: Final = 3
"""The end of this direction. The body is the number of bytes that have been taken of the other one until now.

A connection that closes before it has been cut.
"""
RESET: Final = 4
"""The reset of a user or target."""
PING: Final = 5
"""A sign of life, which has no answer."""
FREE: Final = 6
"""The client has finished with a user, both of whose directions have ended; the connection may have another one."""
RESET_AFTER_END: Final = 7
"""The reset of a user or target whose direction has ended before."""

RESUME: Final = 8
"""The session that a connection resumes, from the client; the first record of such a connection."""
RESUMED: Final = 9
"""The server's answer: the session continues."""
GONE: Final = 10
"""The server's answer: it does not have the session."""

_TAKEN_SIZE: Final = 8

PADDING_BITS: Final = 5
"""Targets are padded with a random number of bytes that has so many bits."""
MAX_PADDING: Final = (1 << PADDING_BITS) - 1


def put_taken(taken: int) -> bytes:
    """Return the body of an end, after ``taken`` bytes of the other direction."""
    return taken.to_bytes(_TAKEN_SIZE)


def taken_of(body: bytes | memoryview) -> int:
    """Return the number of bytes in the body of an end. Raises RecordError."""
    if len(body) != _TAKEN_SIZE:
        raise RecordError(f"an end of {len(body)} bytes")
    return int.from_bytes(body)


def pad(target: bytes, padding: int) -> bytes:
    """Return a target and random NULs, which no target contains, so that its length stays hidden."""
    return target + bytes(padding)


def unpad(body: bytes) -> bytes:
    """Return the target in ``body``. Raises RecordError if it is too long."""
    target = body.rstrip(b"\0")
    if len(target) > MAX_TARGET:
        raise RecordError(f"a target of {len(target)} bytes")
    return target
