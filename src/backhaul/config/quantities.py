"""Rates, sizes and time zones, as the configuration has them."""

import datetime as dt
import re
from typing import Final

UTC: Final = "UTC"

_RATES: Final = {"bit": 1, "kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9}
_BY_1000: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES: Final = _BY_1000 | {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_NUMBER: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(\S+)")


def parse_rate(text: str) -> int:
    """Read a rate such as ``100 Mbit/s``; return bits a second."""
    if not text.endswith("/s"):
        raise ValueError
    return _times(text.removesuffix("/s"), _RATES)


def parse_size(text: str) -> int:
    """Read a size such as ``500 GB`` or ``2 TiB``; return bytes."""
    return _times(text, _SIZES)


def _times(text: str, units: dict[str, int]) -> int:
    found = _NUMBER.fullmatch(text)
    if not found or found[2] not in units:
        raise ValueError
    return round(float(found[1]) * units[found[2]])


def parse_zone(name: str) -> str:
    """Check the name of a time zone; raise ValueError if this system does not know it."""
    try:
        zone_of(name)
    except (KeyError, OSError):
        raise ValueError("this system does not know it; correct the name, or install tzdata") from None
    return name


def zone_of(name: str) -> dt.tzinfo:
    """Return the time zone of a name; raise KeyError, OSError or ValueError if there is none."""
    if name == UTC:
        return dt.UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - most configurations need none

    return ZoneInfo(name)
