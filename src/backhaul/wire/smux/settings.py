"""The settings of a session."""

import math
from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """An end of the session; the value is the id of its first stream, and each next id is 2 higher."""

    CLIENT = 3
    SERVER = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a session, whose defaults are those of Backhaul v0.7.2. The caller observes the ranges."""

    version: int = 1
    """1 or 2. Nothing is negotiated: both ends must have the same."""
    max_frame: int = 32768
    """Payload bytes of the largest PSH frame that this end sends, 1 to 65535. Any size is received."""
    receive_buffer: int = 4194304
    """Unread bytes of the whole session at which reading stops, > 0."""
    stream_buffer: int = 65536
    """Version 2: the window that this end announces for each stream, 1 to 2147483647 bytes."""
    window_growth: int = 0
    """Version 2: bytes by which the windows of all streams together may grow; the receive buffer is larger by as much.
    With 0 windows are constant, as in the Go library."""
    max_streams: int = 65536
    """Streams that may exist at once; further SYNs are ignored. A host has as many ports for one peer."""
    keepalive_interval: float = 20.0
    """Seconds between NOPs. The peer's timeout must be longer; v0.7.2 hard-codes 20 and 40."""
    keepalive_timeout: float = 40.0
    """Seconds after which a silent peer counts as dead, at the earliest."""
    most_vain: float = math.inf
    """Frames without an effect that the peer may send between two NOPs of this end. The Go library has no limit."""
    most_orphans: float = math.inf
    """Streams that this end has finished and abandoned, and that the peer may leave open from one NOP of this end to
    the next. The Go library has no limit."""
    orphan_limit: float = math.inf
    """The same at once: if there are more, the peer may open no further stream. The Go library has no limit."""
