"""smux: many streams on one transport, as in the Go library github.com/xtaci/smux, versions 1 and 2.

``Session`` parses and queues frames, ``Stream`` is one connection within it, the caller's ``Sink`` takes payload,
and ``window`` holds the arithmetic of flow control. The caller owns the transport and the clock.
"""

from .errors import FloodError, SmuxError, StreamIdsExhausted
from .frames import HEADER_SIZE, MAX_PAYLOAD, is_nop
from .session import Handler, Session
from .settings import Role, Settings
from .stream import Sink, State, Stream
from .window import KNOWN_WINDOW, UNLIMITED

__all__ = [
    "HEADER_SIZE",
    "KNOWN_WINDOW",
    "MAX_PAYLOAD",
    "UNLIMITED",
    "FloodError",
    "Handler",
    "Role",
    "Session",
    "Settings",
    "Sink",
    "SmuxError",
    "State",
    "Stream",
    "StreamIdsExhausted",
    "is_nop",
]
