"""The rates of users, from the tables of limits."""

from typing import Any, Final
from weakref import WeakValueDictionary

from backhaul.addresses import plain_ip
from backhaul.config.limits import ALL_PORTS, NO_LIMITS, Limits, LimitTables
from backhaul.failures import network_of
from backhaul.net.timers import Timers
from backhaul.relay.rates import Rate, RatedTraffic, Rates
from backhaul.relay.traffic import Traffic

from .port import Port

_BITS: Final = 8
_EVERYBODY: Final = ""  # no source
_WAYS: Final = ("received", "sent")
_Scope = int | str  # a port, all ports, or a client
_Key = tuple[_Scope, str, str]


class RateTable:
    """All rates in use: of a port, of all ports or of a client, and of one source or of all, each way."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._tables: dict[_Scope, Limits] = {}  # that have rates
        self._rates: WeakValueDictionary[_Key, Rate] = WeakValueDictionary()

    def apply(self, tables: LimitTables) -> None:
        """Use other rates, also for present users who have some."""
        every: tuple[tuple[_Scope, Limits], ...] = ((ALL_PORTS, tables.everywhere), *tables.ports, *tables.clients)
        self._tables = {scope: limits for scope, limits in every if limits.rate or limits.rate_per_source}
        for (scope, source, _), rate in list(self._rates.items()):
            limits = self._tables.get(scope, NO_LIMITS)
            rate.change((limits.rate_per_source if source else limits.rate) / _BITS)

    def traffic(self, port: Port, address: tuple[Any, ...], client: str) -> Traffic:
        """Return the traffic of a new user, whom this client serves."""
        if not self._tables:
            return port.traffic
        scopes: tuple[_Scope, ...] = ALL_PORTS, port.mapping.bind_port, client
        tables = [(scope, self._tables[scope]) for scope in scopes if scope in self._tables]
        if not tables:
            return port.traffic
        source = network_of(plain_ip(address))
        received, sent = (
            tuple(rate for scope, limits in tables for rate in self._of(limits, scope, source, way)) for way in _WAYS
        )
        return RatedTraffic.of(port.traffic, Rates(received, sent))

    def _of(self, limits: Limits, scope: _Scope, source: str, way: str) -> tuple[Rate, ...]:
        wanted = ((_EVERYBODY, limits.rate), (source, limits.rate_per_source))
        return tuple(self._rate((scope, name, way), bits / _BITS) for name, bits in wanted if bits)

    def _rate(self, key: _Key, rate: float) -> Rate:
        known = self._rates.get(key)
        if known is None:
            known = self._rates[key] = Rate(self._timers, rate)
        return known
