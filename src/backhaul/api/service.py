"""The operations, carried out by the program."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from backhaul.monitor.connections import SLICE, ConnectionStatus
from backhaul.monitor.http_messages import Stream
from backhaul.monitor.samples import HistoryStatus
from backhaul.monitor.status import Status
from backhaul.monitor.traffic import TrafficStatus
from backhaul.selection import Selection

from . import operations
from .desk import Desk, Handler
from .errors import RefusedError
from .follow import follow
from .guards import Guard
from .messages import (
    Checked,
    CheckRequest,
    Choice,
    Closed,
    Configuration,
    ConnectionList,
    ConnectionsQuery,
    Drained,
    DrainRequest,
    EventsQuery,
    HistoryQuery,
    Loaded,
    Nothing,
    Reopened,
)
from .operations import EVENTS, Operation
from .operator import Operator

_FRESH: Final = 0.5  # seconds for which visitors share the list of all users
_NEVER: Final = -math.inf
_ALL: Final = ConnectionsQuery()
_UNCLEAR: Final = 'choose users: expected {"id": 1}, {"user": "192.0.2.1"}, {"port": 443} or others of their fields'


def make_desk(operator: Operator, guard: Guard, clock: Callable[[], float] = time.monotonic) -> Desk:
    """Return a door to all operations."""
    return Desk(Service(operator, guard, clock).handlers, guard)


class Service:
    """The operations behind one door."""

    def __init__(self, operator: Operator, guard: Guard, clock: Callable[[], float]) -> None:
        self._operator = operator
        self._guard = guard
        self._clock = clock
        self._making = asyncio.Lock()
        self._made = _NEVER
        self._list = b""
        self.handlers: Mapping[Operation, Handler] = {
            operations.STATUS: self._status,
            operations.TRAFFIC: self._traffic,
            operations.HISTORY: self._history,
            operations.CONFIGURATION: self._configuration,
            operations.CONNECTIONS: self._connections,
            operations.FOLLOW: self._follow,
            operations.DESCRIBE: self._describe,
            operations.CLOSE: self._close,
            operations.RELOAD: self._reload,
            operations.REOPEN: self._reopen,
            operations.CHECK: self._check,
            operations.DRAIN: self._drain,
            operations.RESUME: self._resume,
        }

    async def _status(self, _: Nothing) -> Status:
        return await self._operator.status()

    async def _traffic(self, _: Nothing) -> TrafficStatus:
        return self._operator.traffic()

    async def _history(self, query: HistoryQuery) -> HistoryStatus:
        return await self._operator.history(query.series)

    async def _configuration(self, _: Nothing) -> Configuration:
        return self._operator.configuration()

    async def _connections(self, query: ConnectionsQuery) -> bytes:
        """Return the chosen users. Visitors who ask for all at the same time share one list, however many they are."""
        if query != _ALL:
            return await self._listed(query)
        async with self._making:
            if self._clock() - self._made >= _FRESH:
                self._list = await self._listed(query)
                self._made = self._clock()
        return self._list

    async def _listed(self, query: ConnectionsQuery) -> bytes:
        rows, following = _page(await self._rows(_selection(query)), query)
        head = ConnectionList(
            time.time(), self._operator.file, self._guard.may_change, self._guard.logins, following, []
        )
        pieces = [msgspec.json.encode(head)[:-2]]
        for begin in range(0, len(rows), SLICE):
            pieces += [b"," if begin else b"", msgspec.json.encode(rows[begin : begin + SLICE])[1:-1]]
            await asyncio.sleep(0)
        return b"".join([*pieces, b"]}"])

    async def _rows(self, selection: Selection) -> list[ConnectionStatus]:
        rows: list[ConnectionStatus] = []
        for batch in self._operator.connections.batches(selection):
            rows += batch
            await asyncio.sleep(0)
        return rows

    async def _close(self, choice: Choice) -> Closed:
        selection = _selection(choice)
        if selection.everyone:
            raise RefusedError(_UNCLEAR)
        closed = 0
        for count in self._operator.connections.closed(selection):
            closed += count
            await asyncio.sleep(0)
        self._made = _NEVER  # after closing a user, a visitor checks at once whether they have left
        return Closed(closed)

    async def _follow(self, query: EventsQuery) -> Stream:
        return Stream(follow(self._operator.events, query.last_event_id), EVENTS)

    async def _describe(self, _: Nothing) -> bytes:
        from .openapi import describe  # noqa: PLC0415 - only this operation needs it

        return msgspec.json.encode(describe(self._guard, (await self._operator.status()).version))

    async def _reload(self, _: Nothing) -> Loaded:
        return await self._operator.reload()

    async def _reopen(self, _: Nothing) -> Reopened:
        return self._operator.reopen()

    async def _check(self, request: CheckRequest) -> Checked:
        return await self._operator.check(request.text)

    async def _drain(self, request: DrainRequest) -> Drained:
        return await self._operator.drain(request.client)

    async def _resume(self, request: DrainRequest) -> Drained:
        return await self._operator.resume(request.client)


def _selection(choice: Choice) -> Selection:
    try:
        return choice.selection
    except ValueError:
        raise RefusedError("user: expected an address such as 192.0.2.1 or [2001:db8::1]:443") from None


def _page(rows: list[ConnectionStatus], query: ConnectionsQuery) -> tuple[list[ConnectionStatus], int]:
    """Return the rows of a page, and the id after which the next one begins, or 0."""
    if query.after:
        rows = [row for row in rows if row.id > query.after]
    if not query.limit:
        return rows, 0
    rows.sort(key=lambda row: row.id)
    page = rows[: query.limit]
    return page, page[-1].id if len(page) < len(rows) else 0
