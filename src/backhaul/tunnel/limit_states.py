"""The limits in force and their use, as data."""

from collections.abc import Iterator, Mapping
from typing import Final

from backhaul.config.limits import Limits
from backhaul.state import LimitState

_UNITS: Final = {
    "max_users": "users",
    "max_users_per_source": "users",
    "new_users_per_second": "users/s",
    "new_users_per_second_per_source": "users/s",
    "rate": "bit/s",
    "rate_per_source": "bit/s",
    "bytes_per_day": "bytes",
    "bytes_per_day_per_source": "bytes",
    "bytes_per_month": "bytes",
    "bytes_per_month_per_source": "bytes",
    "idle_timeout": "seconds",
    "max_lifetime": "seconds",
}


def table_states(name: str, limits: Limits, used: Mapping[str, int], listed: Mapping[str, int]) -> Iterator[LimitState]:
    """Return the states of the limits that one table sets, with their use and the sizes of lists by limit."""
    for limit, unit in _UNITS.items():
        if most := getattr(limits, limit):
            yield LimitState(name, limit, unit, most, used.get(limit, 0), limit in used)
    for limit, size in listed.items():
        yield LimitState(name, limit, "networks", size, 0, counted=False)
