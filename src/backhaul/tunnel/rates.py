"""The rates of users, from the tables of limits."""

from typing import Any, Final
from weakref import WeakValueDictionary

from backhaul.addresses import plain_ip
from backhaul.config.limits import NO_LIMITS, Limits, LimitTables
from backhaul.failures import network_of
from backhaul.net.timers import Timers
from backhaul.relay.rates import Rate, RatedTraffic, Rates
from backhaul.relay.traffic import Traffic

from .port import Port

_BITS: Final = 8
_ALL: Final = 0  # no port
_EVERYBODY: Final = ""  # no source
_WAYS: Final = ("received", "sent")
_Key = tuple[int, str, str]


class RateTable:
    """All rates in use: of a port or of all ports, and of one source or of all, each way."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._everywhere = NO_LIMITS
        self._ports: dict[int, Limits] = {}
        self._any = False
        self._rates: WeakValueDictionary[_Key, Rate] = WeakValueDictionary()

    def apply(self, tables: LimitTables) -> None:
        """Use other rates, also for present users who have some."""
        self._everywhere, self._ports = tables.everywhere, dict(tables.ports)
        self._any = any(one.rate or one.rate_per_source for one in (self._everywhere, *self._ports.values()))
        for (port, source, _), rate in list(self._rates.items()):
            limits = self._ports.get(port, NO_LIMITS) if port else self._everywhere
            rate.change((limits.rate_per_source if source else limits.rate) / _BITS)

    def traffic(self, port: Port, address: tuple[Any, ...]) -> Traffic:
        """Return the traffic of a new user."""
        if not self._any:
            return port.traffic
        number = port.mapping.bind_port
        common, single = self._everywhere, self._ports.get(number, NO_LIMITS)
        if not (common.rate or common.rate_per_source or single.rate or single.rate_per_source):
            return port.traffic
        source = network_of(plain_ip(address))
        received, sent = (
            (*self._of(common, _ALL, source, way), *self._of(single, number, source, way)) for way in _WAYS
        )
        return RatedTraffic.of(port.traffic, Rates(received, sent))

    def _of(self, limits: Limits, port: int, source: str, way: str) -> tuple[Rate, ...]:
        wanted = ((_EVERYBODY, limits.rate), (source, limits.rate_per_source))
        return tuple(self._rate((port, name, way), bits / _BITS) for name, bits in wanted if bits)

    def _rate(self, key: _Key, rate: float) -> Rate:
        known = self._rates.get(key)
        if known is None:
            known = self._rates[key] = Rate(self._timers, rate)
        return known
