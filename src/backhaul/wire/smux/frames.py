"""The smux frame: an 8-byte little-endian header and, for two of the commands, a payload.

The format is that of github.com/xtaci/smux, versions 1 and 2 of the protocol (they differ in UPD alone),
and four commands more.
"""

from struct import Struct
from typing import Final

HEADER: Final = Struct("<BBHI")
"""version, command, length of the payload, stream id."""
HEADER_SIZE: Final = HEADER.size

SYN: Final = 0
"""Opens a stream; the peer does not answer it."""
FIN: Final = 1
"""The sender will push no more on this stream."""
PSH: Final = 2
"""Carries payload: 1 to ``MAX_PAYLOAD`` bytes."""
NOP: Final = 3
"""A sign of life. Its stream id is 0 by custom and ignored by the Go library."""
UPD: Final = 4
"""Version 2: the receiver reports its consumption and window; the payload is one ``UPDATE``."""
RST: Final = 5
"""Resets a stream; only between two ends of this program, because a session of the Go library ends with it."""
ACK: Final = 6
"""Acknowledges bytes of the session, whose number modulo 2^32 takes the place of the stream id; likewise."""
BYE: Final = 7
"""Ends the session, which can't be resumed; likewise."""
ASK: Final = 8
"""Asks for an ACK at once; likewise."""

UPDATE: Final = Struct("<II")
"""The bytes consumed since the stream began (modulo 2^32), and the size of the receiver's window."""

MAX_PAYLOAD: Final = 0xFFFF
"""The length field has 16 bits."""
MAX_STREAM_ID: Final = 0xFFFF_FFFF
"""The stream id field has 32 bits."""


def is_nop(data: bytes | memoryview) -> bool:
    """Return whether ``data`` begins with a NOP, the frame that a session sends before it has streams."""
    if len(data) < HEADER_SIZE:
        return False
    version, command, length, _ = HEADER.unpack_from(data)
    return version in {1, 2} and command == NOP and not length


def pack_frame(version: int, command: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a whole frame; meant for small ones, because the payload is copied."""
    return HEADER.pack(version, command, len(payload), stream_id) + payload


def pack_update(stream_id: int, consumed: int, window: int) -> bytes:
    """Return a UPD frame, which exists in version 2 only."""
    return pack_frame(2, UPD, stream_id, UPDATE.pack(consumed, window))
