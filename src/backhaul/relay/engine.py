"""The parts of the data plane that all users of one process and side share."""

import asyncio
import contextlib
import itertools
import logging
import os
from typing import Final

from backhaul.net.log_throttle import LogThrottle
from backhaul.net.pipes import PipePool
from backhaul.net.poller import FAULT, Poller
from backhaul.net.udp import QueueRoom
from backhaul.state import RelayState

from .budget import DEFAULT_LIMIT, Budget
from .connections import InFlight, Joined, Session
from .copies import Copies
from .flows import FlowTable
from .late_frames import LateFrames
from .outcome import Done, Outcome
from .patience import DEFAULT_PATIENCE, Patience
from .pings import Pings
from .reclaimer import Reclaimer
from .resumption import Resumption

log = logging.getLogger("backhaul.tunnel")

_DATAGRAMS_PART: Final = 8  # datagrams that wait have an eighth of the other backlogs, and as much beside queues


class Relay:
    """Poller, pipes, limits and logs for all users, and the set of live connections. Each process has one for each end.

    It has many attributes because all users share each of them. Only the two ends know it as a whole: the protocols
    in the ``resources.py`` of each room list what its classes need.
    """

    def __init__(
        self,
        poller: Poller,
        *,
        splicing: bool | None = None,
        flows: FlowTable | None = None,
        patience: Patience = DEFAULT_PATIENCE,
        backlog_limit: int = DEFAULT_LIMIT,
    ) -> None:
        """``backlog_limit``: bytes that may wait for peers that do not read, in all connections together."""
        self.loop = asyncio.get_running_loop()
        self.poller = poller
        self.pipes = PipePool()
        self.complaints = LogThrottle(log)  # about mistakes of peers
        self.reclaimer = Reclaimer(self.loop)
        self.budget = Budget(backlog_limit, self.complaints, self.reclaimer.unsent)
        self.splicing = splice_available() if splicing is None else splicing
        self.live: set[InFlight] = set()
        self.lingering: set[Joined] = set()  # without a user; the last bytes are on their way
        self.links: set[Session] = set()
        self.next_link = itertools.count(1).__next__
        """Returns the number of a new session."""
        self.flows = FlowTable() if flows is None else flows
        self.flows.room = QueueRoom(backlog_limit // _DATAGRAMS_PART, self.reclaimer.datagrams.level)
        self.patience = patience
        self.resumption = Resumption()
        self.copies = Copies()
        self.pings = Pings(lambda: self.patience.silence, poller.faults)
        self.late_frames = LateFrames(lambda: self.patience.late, poller.faults)
        self._watched: dict[Joined, tuple[int, int, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event | None = None

    def apply(self, patience: Patience, *, max_flows: int, flow_timeout: float) -> None:
        """Use other limits, for present users and flows as well; ``flow_timeout`` is in seconds."""
        self.patience = patience
        self.flows.bound(max_flows, flow_timeout)

    @property
    def busy(self) -> bool:
        """True while there are users, or connections with bytes for those who have gone."""
        return bool(self.live or self.lingering)

    @property
    def watched(self) -> int:
        """The number of connections with one ended direction."""
        return len(self._watched)

    def state(self) -> RelayState:
        """Return the counts and the state of each session, without a look at each user."""
        links = tuple(link.state() for link in self.links)
        return RelayState(
            users=len(self.live),
            flows=len(self.flows),
            unsent=self.budget.held,
            links=links,
            resumption=self.resumption.state(),
        )

    def finished(self, joined: InFlight, done: Done | None, outcome: Outcome) -> None:
        """Drop two ends that have closed, and call ``done``; an exception in it concerns no other user."""
        self.live.discard(joined)
        self.reclaimer.users.level(len(self.live))
        self._watched.pop(joined, None)
        if self._drained and not self.busy:
            self._drained.set()
        try:
            if done:
                done(outcome)
        except Exception as error:  # noqa: BLE001 - any code may be the caller
            self.poller.faults.fault("internal error in the bookkeeping of a user; connections go on", error)

    def forget(self, joined: Joined) -> None:
        """Drop two ends that have closed."""
        self.lingering.discard(joined)
        self._watched.pop(joined, None)
        if self._drained and not self.busy:
            self._drained.set()

    async def drained(self, patience: float) -> None:
        """Return when all users' connections have ended, after ``patience`` seconds at the latest."""
        self._drained = asyncio.Event()
        if self.busy:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._drained.wait()

    def close(self) -> None:
        """Reset all connections that remain, and close the pipes."""
        for joined in (*self.live, *self.lingering):
            joined.close(reset=True)
        self.late_frames.close()
        self.reclaimer.close()
        for link in list(self.links):
            link.flush()
            link.end("this end is shutting down")
        self.flows.close()
        self.pipes.close()
        self.pings.close()
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def watch(self, joined: Joined) -> None:
        """Watch a half-closed connection, which is told how long it has been silent.

        Each user comes here, and most have ended before the first look, so the kernel is asked only then.
        """
        self._watched[joined] = (joined.moved, 0, self.loop.time())
        if self._timer is None:
            self._timer = self.loop.call_later(self.patience.sweep, self._sweep)

    def _sweep(self) -> None:
        self._timer = self.loop.call_later(self.patience.sweep, self._sweep)
        for joined in list(self._watched):
            try:
                if joined in self._watched:  # otherwise it has ended together with another one
                    self._look_at(joined)
            except Exception as error:  # noqa: BLE001 - the others are watched nevertheless
                joined.close(reset=True)
                self.poller.faults.fault(FAULT, error)
        if not self._watched:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, joined: Joined) -> None:
        moved, undelivered, since = self._watched[joined]
        now = self.loop.time()
        if joined.moved != moved or joined.undelivered != undelivered:
            self._watched[joined] = (joined.moved, joined.undelivered, now)
        else:
            joined.silent_for(now - since)


def splice_available() -> bool:
    """Return whether the system has splice, and the administrator has not switched it off."""
    return hasattr(os, "splice") and not os.environ.get("BACKHAUL_NO_SPLICE")
