"""Failed attempts of each address, so that nobody may try secrets as fast as the network carries them."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

FREE: Final = 5  # failures without a pause: people mistype
_LONGEST: Final = 60.0  # seconds
_MOST: Final = 1024  # addresses remembered; the one that failed longest ago makes room


@dataclass(slots=True)
class _Record:
    failures: int = 0
    until: float = 0.0  # no attempt is looked at before


class Failures:
    """Tells who has to wait: after `FREE` failures 1 s, then twice as long for each one, up to a minute.

    An address is forgotten when it succeeds, or has waited twice its pause without another failure. `clock` gives
    seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: OrderedDict[Hashable, _Record] = OrderedDict()  # the longest without a failure first

    def pause(self, address: Hashable) -> float:
        """Return for how many seconds attempts of `address` are not to be looked at; 0: it may try."""
        record = self._records.get(address)
        return max(0.0, record.until - self._clock()) if record else 0.0

    def failed(self, address: Hashable) -> None:
        """Count a failed attempt of `address`."""
        now = self._clock()
        record = self._records.pop(address, None)
        if record is None or now > record.until + _pause(record.failures):
            record = _Record()
        record.failures += 1
        record.until = now + _pause(record.failures)
        self._records[address] = record
        if len(self._records) > _MOST:
            self._records.popitem(last=False)

    def succeeded(self, address: Hashable) -> None:
        """Forget what `address` did before."""
        self._records.pop(address, None)


def prefix(address: str) -> str:
    """Return what one visitor can't change at will: an IPv4 address, or the /64 of an IPv6 one (RFC 4291, 2.5.4)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.IPv6Network((int(parsed), 64), strict=False))  # noqa: PLR2004


def _pause(failures: int) -> float:
    return min(_LONGEST, 2.0 ** min(failures - FREE, 10)) if failures >= FREE else 0.0
