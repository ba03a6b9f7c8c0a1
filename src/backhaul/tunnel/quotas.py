"""The bytes that users may move in a day or a month."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from backhaul.addresses import LOCAL
from backhaul.config.limits import ALL_PORTS, Limits, LimitTables
from backhaul.config.quantities import UTC
from backhaul.errors import reason
from backhaul.failures import network_of
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import FAULT
from backhaul.relay.outcome import Ending
from backhaul.threads import in_thread, in_thread_or_here

from .admission import Objection
from .ledger import MOST, NOTHING, Bytes, Draft, Key, Ledger, Store, day_at, month_of
from .looks import flows, in_slices, streams
from .news import News
from .timings import Timings

if TYPE_CHECKING:
    from .resources import LookResources

log = logging.getLogger("backhaul.server")

_REMEMBERED: Final = 8  # limits that are used up, for each entry of the ledger: at most four stay, see _forget
_NOBODY: Final = ""  # no source
_DAY, _MONTH = "bytes_per_day", "bytes_per_month"
_DAY_OF_ONE, _MONTH_OF_ONE = "bytes_per_day_per_source", "bytes_per_month_per_source"
_LIMITS: Final = (_DAY, _MONTH, _DAY_OF_ONE, _MONTH_OF_ONE)


class Counted(Protocol):
    """A user whose bytes are counted."""

    counted: int
    """Bytes that the quotas have seen."""

    @property
    def bind_port(self) -> int:
        """The local port."""

    @property
    def ip(self) -> str:
        """The address without a port."""

    @property
    def client(self) -> str:
        """The name of the client."""


class _Table:
    """The quotas of one table: of all sources together, and of single ones."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.together = Bytes(limits.bytes_per_day, limits.bytes_per_month)
        self.single = Bytes(limits.bytes_per_day_per_source, limits.bytes_per_month_per_source)
        self.refuses = limits.quota_action == "refuse"
        self.most = NOTHING  # that a source has used

    @property
    def counts(self) -> bool:
        """True if the table sets a quota."""
        return any(self.together) or any(self.single)

    def keys(self, ip: str) -> Iterator[Key]:
        """Return the keys for which the bytes of this address count."""
        if any(self.together):
            yield self.name, _NOBODY
        if any(self.single) and ip != LOCAL:
            yield self.name, network_of(ip)

    def reached(self, source: str, used: Bytes) -> str:
        """Return the name of the limit that is used up, or nothing."""
        if source and (used.day > self.most.day or used.month > self.most.month):
            self.most = Bytes(max(used.day, self.most.day), max(used.month, self.most.month))
        most, day, month = (self.single, _DAY_OF_ONE, _MONTH_OF_ONE) if source else (self.together, _DAY, _MONTH)
        if most.month and used.month >= most.month:
            return month
        return day if most.day and used.day >= most.day else ""


class Quotas:
    """Counts bytes, and refuses users beyond the quotas. Without one it does nothing.

    Relays do not know it: it reads the counters of present users at intervals, and those of users who leave.
    """

    def __init__(
        self,
        relay: "LookResources",
        timings: Timings,
        news: News,
        store: Store,
        clock: Callable[[], float],
        *,
        most: int = MOST,
    ) -> None:
        """``clock`` returns seconds since 1970; ``most`` is the number of limits and sources to keep."""
        self._most = most
        self._relay = relay
        self._timings = timings
        self._news = news
        self._store = store
        self._clock = clock
        self._zone = UTC
        self._ledger = Ledger(day_at(clock(), UTC), most)
        self._tables: dict[str, _Table] = {}
        self._common: tuple[_Table, ...] = ()
        self._ports: dict[int, tuple[_Table, ...]] = {}
        self._clients: dict[str, tuple[_Table]] = {}
        self._used_up: dict[Key, str] = {}  # the limits that refuse users
        self._reported: set[tuple[Key, str]] = set()
        self._throttle = LogThrottle(log)
        self._complaint = ""
        self._saving = asyncio.Lock()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def apply(self, tables: LimitTables) -> None:
        """Use other quotas, from now on for present users as well."""
        for _ in self._looks():  # bytes moved so far count for the former quotas
            pass
        self._zone = tables.everywhere.quota_time_zone
        before, self._tables = self._tables, {}
        self._common, self._ports = (), {}
        for name, limits, port in tables.named():
            self._add(_Table(name, limits), port)
        named = {name: _Table(f"clients.{name}", limits) for name, limits in tables.clients}
        self._clients = {name: (table,) for name, table in named.items() if table.counts}
        self._tables |= {table.name: table for (table,) in self._clients.values()}
        if before or self._tables:
            await self._turn()
            await self._save()  # which reads what earlier processes have counted
            await self._turn()  # a clock that is not set goes on with their day
        if self._tables and (not self._task or self._task.done()):
            self._task = asyncio.ensure_future(self._look_again_and_again())
        self._judge_all()

    def objection(self, port: int, ip: str) -> Objection | None:
        """Return why a new user of a port is refused, if so."""
        return self._objection(self._of(port), ip) if self._used_up else None

    def objection_to(self, client: str) -> Objection | None:
        """Return why a new user of a client is refused, if so."""
        return self._objection(self._clients.get(client, ()), LOCAL) if self._used_up else None

    def _objection(self, tables: tuple[_Table, ...], ip: str) -> Objection | None:
        for table in tables:
            for key in table.keys(ip):
                if limit := self._used_up.get(key):
                    return Objection(limit, table.name)
        return None

    def count(self, user: Counted, moved: int) -> None:
        """Count the bytes that a user has moved since the last time, of ``moved`` bytes in all."""
        new, user.counted = moved - user.counted, moved
        if not new or not self._tables:
            return
        ip = user.ip
        for table in (*self._of(user.bind_port), *self._clients.get(user.client, ())):
            for key in table.keys(ip):
                self._judge(table, key, self._ledger.add(key, new))

    def used(self) -> dict[str, dict[str, int]]:
        """Return the use by table and limit; that of the source with the most, if each source has the limit."""
        return {
            name: dict(zip(_LIMITS, (*self._ledger.used((name, _NOBODY)), *table.most), strict=True))
            for name, table in self._tables.items()
        }

    def close(self) -> None:
        """Stop looking at present users; those who leave are still counted."""
        self._stop.set()

    async def finish(self) -> None:
        """Store all counted bytes, at the very end. A call that is cancelled leaves that to the next one."""
        self.close()
        if self._task:
            await asyncio.wait([self._task])
            await asyncio.shield(asyncio.ensure_future(self._save(last=True)))

    def _add(self, table: _Table, port: int) -> None:
        if table.counts:
            self._tables[table.name] = table
            if port == ALL_PORTS:
                self._common = (table,)
            else:
                self._ports[port] = (*self._common, table)

    def _of(self, port: int) -> tuple[_Table, ...]:
        return self._ports.get(port, self._common)

    async def _look_again_and_again(self) -> None:
        loop = self._relay.loop
        stored = loop.time()
        while await self._pause() and self._tables:
            await in_slices(self._looks())
            await self._turn()
            if loop.time() - stored >= self._timings.quota_store:
                stored = loop.time()
                await self._save()

    async def _pause(self) -> bool:
        """Wait for the next look; return False if there is none."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timings.quota):
                await self._stop.wait()
        return not self._stop.is_set()

    def _looks(self) -> Iterator[None]:
        for user, record in streams(self._relay.live):
            if self._is_over(record, user.moved):
                user.end(Ending.LIMIT)
            yield
        for flow, owner in flows(self._relay.flows):
            if self._is_over(owner, flow.received + flow.sent):
                owner.expire(flow)
            yield

    def _is_over(self, user: Counted, moved: int) -> bool:
        try:
            self.count(user, moved)
            return (self.objection_to(user.client) or self.objection(user.bind_port, user.ip)) is not None
        except Exception as error:  # noqa: BLE001 - the others are looked at nevertheless
            self._relay.poller.faults.fault(FAULT, error)
            return False

    async def _turn(self) -> None:
        """Begin another day, if it has come; not while the previous one is being stored."""
        async with self._saving:
            before = self._ledger.day
            if not self._ledger.turn(day_at(self._clock(), self._zone)):
                return
        same_month = month_of(before) == month_of(self._ledger.day)
        self._reported = {one for one in self._reported if same_month and "month" in one[1]}
        self._judge_all()

    def _judge_all(self) -> None:
        self._used_up.clear()
        for table in self._tables.values():
            table.most = NOTHING
        for key in self._ledger.known():
            if known := self._tables.get(key[0]):
                self._judge(known, key, self._ledger.used(key))

    def _judge(self, table: _Table, key: Key, used: Bytes) -> None:
        limit = table.reached(key[1], used)
        if not limit:
            return
        if table.refuses:
            self._used_up[key] = limit
        if (key, limit) not in self._reported:
            self._forget()
            self._reported.add((key, limit))
            self._report(table, key[1], limit)

    def _forget(self) -> None:
        """Forget sources with the ledger, before there are too many."""
        if len(self._reported) >= _REMEMBERED * self._most:
            self._reported = {one for one in self._reported if self._ledger.knows(one[0])}
            self._used_up = {key: limit for key, limit in self._used_up.items() if self._ledger.knows(key)}

    def _report(self, table: _Table, source: str, limit: str) -> None:
        kind, _, name = table.name.partition(".")
        port, client = ("", name) if kind == "clients" else (name, "")
        self._news.quota_used(limit, port=port, user=source, client=client)
        period = "month" if "month" in limit else "day"
        effect = f"users are refused until the {period} ends ({self._zone})" if table.refuses else "users continue"
        who = f" by {source}" if source else ""
        self._throttle.warn((table.name, limit), f"{table.name}.{limit}: used up{who}; {effect}; raise it if need be")

    async def _save(self, *, last: bool = False) -> None:
        call = in_thread_or_here if last else in_thread
        async with self._saving:
            draft = self._ledger.draft()
            await in_slices(self._ledger.fill(draft))
            try:
                await call(self._store.update, draft.onto)
            except OSError as error:
                self._complain(
                    f"{self._store}: {reason(error)}; bytes per day and month are forgotten at the end of this "
                    "program; correct that, or set STATE_DIRECTORY to another directory"
                )
            else:
                await self._adopt(draft)

    async def _adopt(self, draft: Draft) -> None:
        self._complaint = ""
        await in_slices(self._ledger.adopt(draft))
        if draft.broken:
            log.error("%s: corrupt and replaced; bytes per day and month count from 0", self._store)

    def _complain(self, problem: str) -> None:
        """Log a problem with the file, unless it was the last one logged."""
        if problem != self._complaint:
            self._complaint = problem
            log.error("%s", problem)
