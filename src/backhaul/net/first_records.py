"""The size of the first records on a connection whose session can go on with another one.

Some firewalls let only the first 15 to 20 kB of a connection pass (https://github.com/net4people/bbs/issues/490), and
nothing can be read of a record that they cut: in records of the usual 16 kB, nothing would ever pass.
"""

from typing import Final

YOUNG: Final = 1 << 15
"""Bytes of a connection that leave in small records."""
SMALL: Final = 512
"""Bytes of payload in a small record. Its header and tag take 5 % more, and little is lost with the last one."""
