"""The payloads of the handshake, in which each end describes itself to the other one."""

from typing import Final, TypeVar

import msgspec

from backhaul.errors import UNREADABLE

from .noise import HandshakeError
from .records import Cipher

VERSION: Final = 1
"""The version of what follows the handshake."""
PROLOGUES: Final = {False: b"backhaul 1 raw", True: b"backhaul 1 http"}
"""The prologues by whether the messages are cookies of an HTTP upgrade; otherwise they are frames.

They stay the same in later versions, because an end that can't read a hello can't tell the reason.
"""


MAX_PADDING: Final = 256
"""Bytes of padding in a hello, a random number up to this, so that its size tells nothing."""
PROBE_PADDING: Final = 1600
"""Bytes of padding in a probe, and so in its answer, that fill a packet of Ethernet on each transport."""


class ClientHello(msgspec.Struct, frozen=True, omit_defaults=True):
    """The payload of the first message."""

    transport: str
    """The name of the client's transport."""
    version: int = 1
    """The client's ``VERSION``. Each version reads the hellos of all others."""
    features: tuple[int, ...] = ()
    """Numbers of ``Feature``; unknown ones are ignored."""
    encryption: bool = False
    """True if users' bytes must be sealed."""
    required: bool = False
    """True if the client accepts protected tunnels only."""
    aes: bool = False
    """True if this CPU has instructions for AES."""
    certificate: bytes = b""
    """The SHA-256 of the certificate that the client got; empty without TLS."""
    verified: bool = False
    """True if an authority vouches for that certificate, or the client knows it, so TLS may end at a CDN."""
    probe: bool = False
    """True for a probe, which asks whether the client fits. The answer has as much padding, and no session follows."""
    instance: bytes = b""
    """Random bytes of this tunnel's client: with them it takes the place of its own older control channel at once."""
    delay: float = 0.0
    """Seconds before the answer to a probe, in which nothing is sent: does an idle connection live for so long?"""
    padding: bytes = b""


class ServerHello(msgspec.Struct, frozen=True, omit_defaults=True):
    """The payload of the second message."""

    refusal: str = ""
    """The reason why the server refuses the client, for both logs; otherwise empty."""
    features: tuple[int, ...] = ()
    """The client's features that the server knows."""
    encryption: bool = False
    """True if users' bytes are sealed."""
    cipher: Cipher = Cipher.CHACHA20_POLY1305
    session: int = 0
    """The number by which the server finds this session, 32 bits."""
    locator: bytes = b""
    """The key that hides this number in admissions, 32 bytes."""
    instance: bytes = b""
    """Random bytes of the server's process for this client, whose sessions the process has."""
    warning: str = ""
    """A line for the client's log about a fault that its administrator should correct; otherwise empty."""
    program: str = ""
    """The version of the server's program; only in the answer to a probe."""
    time: float = 0.0
    """The server's clock in seconds since 1970, UTC; only in the answer to a probe."""
    padding: bytes = b""


Hello = TypeVar("Hello", ClientHello, ServerHello)


def encode(hello: ClientHello | ServerHello) -> bytes:
    """Return the payload."""
    return msgspec.msgpack.encode(hello)


def decode(kind: type[Hello], payload: bytes) -> Hello:
    """Return the hello in an authentic payload; fields of a later version are ignored. Raises HandshakeError."""
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except UNREADABLE:
        raise HandshakeError("the payload of a handshake can't be read") from None
