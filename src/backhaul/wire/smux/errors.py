"""What can go wrong with a smux session.

BackhaulError
└── SmuxError            the session cannot go on; its transport is to be closed
    └── StreamIdsExhausted   no id is left for a new stream; the streams that exist live on
"""

from backhaul.errors import BackhaulError


class SmuxError(BackhaulError):
    """The session has ended; the text is one line for the administrator."""


class StreamIdsExhausted(SmuxError):  # noqa: N818  names what ran out, as BlockingIOError names what happened
    """Every stream id of this end's parity has been used: open a new session."""
