"""The ends of users who have been silent, or connected, for too long."""

import asyncio
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from backhaul.config.limits import Limits, LimitTables
from backhaul.net.poller import FAULT
from backhaul.relay.connections import InFlight
from backhaul.relay.flows import Flow
from backhaul.relay.outcome import Ending

from .looks import flows, in_slices, streams
from .outcomes import ServedUser
from .udp_ports import UdpUser

if TYPE_CHECKING:
    from .resources import LookResources

_PART: Final = 20  # a user stays too long by a twentieth of the limit at most


class _Times(NamedTuple):
    """The time limits of one port or client; infinite without one."""

    idle: float = math.inf
    lifetime: float = math.inf

    @classmethod
    def of(cls, *limits: Limits) -> Self:
        """Return the shortest ones of these limits."""
        return cls(
            min(one.idle_timeout or math.inf for one in limits), min(one.max_lifetime or math.inf for one in limits)
        )


class _Seen(NamedTuple):
    """The last look at a user."""

    moved: int
    undelivered: int
    since: float  # the first look with these numbers


def _look(user: InFlight, before: _Seen, now: float) -> _Seen:
    """Return what is seen now. A user on a slow line may receive for minutes what the kernel has taken at once."""
    moved, undelivered = user.moved, user.undelivered
    if (moved, undelivered) == before[:2]:
        return before
    return _Seen(moved, undelivered, now)


class Expiry:
    """Looks at all users now and then. Without a limit of time it does nothing.

    The users' relays do not know it, so it costs nothing when bytes move.
    """

    def __init__(self, relay: "LookResources", look_every: float) -> None:
        """``look_every`` is the shortest interval of looks in seconds."""
        self._relay = relay
        self._look_every = look_every
        self._common = _Times()
        self._ports: dict[int, _Times] = {}
        self._clients: dict[str, _Times] = {}
        self._seen: dict[InFlight, _Seen] = {}
        self._task: asyncio.Task[None] | None = None

    def apply(self, tables: LimitTables) -> None:
        """Use other limits, for present users as well."""
        self.close()
        self._common = _Times.of(tables.everywhere)
        self._ports = {port: _Times.of(tables.everywhere, limits) for port, limits in tables.ports}
        self._clients = {client: _Times.of(limits) for client, limits in tables.clients}
        shortest = min(min(times) for times in (self._common, *self._ports.values(), *self._clients.values()))
        if math.isfinite(shortest):
            self._task = asyncio.ensure_future(self._look_again_and_again(max(shortest / _PART, self._look_every)))

    def close(self) -> None:
        """Stop looking."""
        if self._task:
            self._task.cancel()
            self._task = None

    async def _look_again_and_again(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            await in_slices(itertools.chain(self._streams(), self._flows()))

    def _streams(self) -> Iterator[None]:
        before, self._seen = self._seen, {}
        for user, record in streams(self._relay.live):
            try:
                self._look_at(user, record, before.get(user))
            except Exception as error:  # noqa: BLE001 - the others are looked at nevertheless
                self._relay.poller.faults.fault(FAULT, error)
            yield

    def _look_at(self, user: InFlight, record: ServedUser, before: _Seen | None) -> None:
        times, now = self._of(record), self._relay.loop.time()
        seen = _look(user, before or _Seen(0, 0, record.since), now)
        if now - seen.since >= times.idle or now - record.since >= times.lifetime:
            user.end(Ending.LIMIT)
        else:
            self._seen[user] = seen

    def _flows(self) -> Iterator[None]:
        for flow, owner in flows(self._relay.flows):
            self._look_at_flow(flow, owner)
            yield

    def _look_at_flow(self, flow: Flow, user: UdpUser) -> None:
        times, now = self._of(user), self._relay.loop.time()
        if now - flow.last_used >= times.idle or now - flow.since >= times.lifetime:
            user.expire(flow)

    def _of(self, user: ServedUser | UdpUser) -> _Times:
        times = self._ports.get(user.bind_port, self._common)
        own = self._clients.get(user.client) if self._clients else None
        return _Times(min(times.idle, own.idle), min(times.lifetime, own.lifetime)) if own else times
