"""The errors of a smux session.

BackhaulError
└── SmuxError            the session cannot go on; the caller closes its transport
    ├── FloodError           the peer sends frames without an effect, and no end of them
    └── StreamIdsExhausted   no id is left for a new stream; existing streams go on
"""

from backhaul.errors import BackhaulError


class SmuxError(BackhaulError):
    """The session has ended; the text is one line for the administrator."""


class FloodError(SmuxError):
    """The peer has sent too many frames that have no effect."""


class StreamIdsExhausted(SmuxError):  # noqa: N818  names what ran out, as BlockingIOError names what happened
    """Every stream id of this end's parity has been used: open a new session."""
