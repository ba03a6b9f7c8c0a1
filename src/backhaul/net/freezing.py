"""What is known of firewalls that let only the first bytes of a connection pass, and then freeze it.

Russia's do so since 2025 with connections to foreign hosters: after 15 to 20 kB from the server nothing more passes
(https://github.com/net4people/bbs/issues/490). Nothing can be read of a record that they cut: in records of the usual
16 kB, nothing would ever pass.
"""

from collections.abc import Sequence
from typing import Final

YOUNG: Final = 1 << 15
"""Bytes of a connection that leave in small records, if its session can go on with another connection."""
SMALL: Final = 512
"""Bytes of payload in a small record. Its header and tag take 5 % more, and little is lost with the last one."""
MOST: Final = 1 << 16
"""Bytes that frozen connections have carried at most; larger numbers are rather those of a line that is down."""
ALIKE: Final = 3
"""Connections that must have frozen after a similar number of bytes until a firewall is named."""
_SIMILAR: Final = 1.5  # the largest of these numbers, in relation to the smallest


def alike(carried: Sequence[int]) -> bool:
    """Return whether these numbers of bytes, of frozen connections, are similar."""
    return max(carried) <= _SIMILAR * min(carried)
