"""The kinds of records on a tunnel connection, in either direction."""

from typing import Final

DATA: Final = 0
"""Bytes of a user or target."""
TCP: Final = 1
"""The target of a user's bytes, which the client dials."""
UDP: Final = 2
"""The target of a user's datagrams."""
END: Final = 3
"""The end of this direction. A connection that closes before it has been cut."""
RESET: Final = 4
"""The reset of a user or target."""
PING: Final = 5
"""A sign of life, which has no answer."""
