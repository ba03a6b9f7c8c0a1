"""The typed messages in the sealed records of a control channel, without input or output.

The kind of a record is a ``Signal``. Most carry nothing else: their body is padding, which hides their size.
"""

from struct import Struct
from typing import Final, NamedTuple

import msgspec

from backhaul.errors import UNREADABLE, TransportError

from .signals import Signal
from .targets import MAX_TARGET

MAX_PADDING: Final = 64
"""Bytes of padding in a record, a random number up to this."""
MAX_REASON: Final = 200
"""Characters of a reason."""

IDENTITY_SIZE: Final = 16
"""Bytes by which both ends know a session."""

MAX_COUNT: Final = 0xFFFF
"""Connections that one message may ask for."""

_COUNT: Final = Struct("!H")
_KNOWN: Final = {int(signal): signal for signal in Signal}


class Message(NamedTuple):
    """A record of the control channel."""

    signal: Signal
    body: bytes


class MessageError(TransportError):
    """A record of the control channel is invalid."""


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """The body of REFUSED."""

    target: str
    reason: str
    padding: bytes = b""


def read_message(kind: int, body: bytes) -> list[Message]:
    """Return the message in a record; none if only a later version knows its kind."""
    signal = _KNOWN.get(kind)
    return [] if signal is None else [Message(signal, body)]


def encode_request(count: int, padding: bytes) -> bytes:
    """Return the body of CHANNEL, which asks for ``count`` tunnel connections, at most ``MAX_COUNT``."""
    return _COUNT.pack(count) + padding


def read_request(body: bytes) -> int:
    """Return the number of tunnel connections that CHANNEL asks for. Raises MessageError."""
    if len(body) < _COUNT.size:
        raise MessageError("a request for connections without their number")
    count: int = _COUNT.unpack_from(body)[0]
    return count


def read_ended(body: bytes) -> bytes:
    """Return the identity of the session that ENDED names, before its padding. Raises MessageError."""
    if len(body) < IDENTITY_SIZE:
        raise MessageError("the end of a session without its identity")
    return body[:IDENTITY_SIZE]


def encode_refusal(target: str, reason: str, padding: bytes) -> bytes:
    """Return the body that gives the server the reason why its client does not dial a target."""
    return msgspec.msgpack.encode(Refusal(target[:MAX_TARGET], reason[:MAX_REASON], padding))


def read_refusal(body: bytes) -> Refusal:
    """Return the refusal; both texts can be logged. Raises MessageError."""
    try:
        refusal = msgspec.msgpack.decode(body, type=Refusal)
    except UNREADABLE:
        raise MessageError("a refusal can't be read") from None
    for text, most in ((refusal.target, MAX_TARGET), (refusal.reason, MAX_REASON)):
        if len(text) > most or not text.isprintable():
            raise MessageError("a refusal has texts that can't be logged")
    return refusal
