"""The error of sessions whose bytes are authenticated, apart from the seals: clear sessions load no cryptography."""

from backhaul.wire.smux import SmuxError


class AlteredError(SmuxError):
    """The session can't go on, because bytes of the peer were altered, lost or repeated on their way."""
