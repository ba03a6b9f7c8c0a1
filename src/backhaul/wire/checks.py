"""Health checks of targets: the server asks for them on the control channel, and the client makes and reports them."""

from typing import Final

import msgspec

from backhaul.errors import UNREADABLE

from .messages import MAX_REASON, MessageError
from .targets import MAX_TARGET

MAX_PATH: Final = 512
"""Characters of the path of a request."""
MAX_INTERVAL: Final = 3600
"""Seconds between two checks."""
MAX_RUN: Final = 100
"""Checks in a row that change the health."""
MAX_PREFACE: Final = 256
"""Bytes before the request."""


class Check(msgspec.Struct, frozen=True, array_like=True):
    """The body of CHECK: a check that is repeated until another one with its number takes its place."""

    number: int
    target: str
    path: str
    """The path to request in HTTP; empty for a connection alone."""
    interval: int
    """Seconds from one check to the next; 0 ends them."""
    rise: int
    """Successes in a row after which an unhealthy target is healthy."""
    fall: int
    """Failures in a row after which a healthy target is unhealthy."""
    padding: bytes = b""
    preface: bytes = b""
    """The bytes to send first, whatever the check: a header of the PROXY protocol without addresses, or nothing."""


class Health(msgspec.Struct, frozen=True, array_like=True):
    """The body of HEALTH: the outcome of a check, sent when it is known and whenever it changes."""

    number: int
    healthy: bool
    reason: str
    """The last failure; empty if it is healthy."""
    padding: bytes = b""


def encode_check(check: Check) -> bytes:
    """Return the body."""
    return msgspec.msgpack.encode(check)


def read_check(body: bytes) -> Check:
    """Return the check, whose texts can be logged and sent. Raises MessageError."""
    try:
        check = msgspec.msgpack.decode(body, type=Check)
    except UNREADABLE:
        raise MessageError("a request for a health check can't be read") from None
    if not 0 <= check.interval <= MAX_INTERVAL or not _in_range(check.rise) or not _in_range(check.fall):
        raise MessageError("a request for a health check has impossible numbers")
    if len(check.preface) > MAX_PREFACE:
        raise MessageError("a request for a health check has too many bytes to send first")
    if not _is_text(check.target, MAX_TARGET) or not _is_text(check.path, MAX_PATH) or " " in check.path:
        raise MessageError("a request for a health check has texts that can't be used")
    return check


def encode_health(health: Health) -> bytes:
    """Return the body."""
    return msgspec.msgpack.encode(msgspec.structs.replace(health, reason=health.reason[:MAX_REASON]))


def read_health(body: bytes) -> Health:
    """Return the outcome, whose reason can be logged. Raises MessageError."""
    try:
        health = msgspec.msgpack.decode(body, type=Health)
    except UNREADABLE:
        raise MessageError("the outcome of a health check can't be read") from None
    if not _is_text(health.reason, MAX_REASON):
        raise MessageError("the outcome of a health check has a reason that can't be logged")
    return health


def _in_range(run: int) -> bool:
    return 1 <= run <= MAX_RUN


def _is_text(text: str, most: int) -> bool:
    return len(text) <= most and text.isprintable()
