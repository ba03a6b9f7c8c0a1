"""A name of the configuration that stands for several servers."""

import asyncio
import logging
import math
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from backhaul.config import Address, ClientConfig
from backhaul.config.services import Ranks
from backhaul.errors import BackhaulError, reason
from backhaul.net.log_throttle import LogThrottle
from backhaul.wire.signals import Signal

from .choice import InOrder
from .destination import Destination, SingleServer, Tunnels
from .listing import Listing
from .standing import View
from .timings import Timings

log = logging.getLogger("backhaul.client")


class EveryServer(Destination):
    """A name with several servers: those of the lowest rank are in use, and others while none of these is connected.

    The name is looked up again and again. A connected server that is listed no longer stays until it is lost: an answer
    may hold only some of the servers.
    """

    def __init__(self, tunnels: Tunnels, config: ClientConfig, listing: Listing, timings: Timings) -> None:
        super().__init__(config)
        self._tunnels = tunnels
        self._listing = listing
        self._timings = timings
        self._members: dict[Address, SingleServer] = {}
        self._ranks: Ranks = {}
        self._levels: list[int] = []  # the ranks of all members, the lowest first
        self._choice = InOrder(stable=timings.stable)
        self._throttle = LogThrottle(log)
        self._failures = 0  # look-ups in a row
        self._problem = ""

    @property
    def view(self) -> View:
        """The best standing of these servers."""
        return _joint([server for server in self.servers() if server.in_use], self._failures)

    @property
    def problem(self) -> str:
        """The reason why it has no tunnel."""
        return "" if self._members else self._problem

    @property
    def has_reserve(self) -> bool:
        """True if not all servers have the same rank."""
        return len(self._levels) > 1

    def servers(self) -> Iterator[SingleServer]:
        """Return all servers, with those of the reserve."""
        return iter(list(self._members.values()))

    async def choose(self) -> None:
        """Use the first ranks only, up to one that is connected."""
        if not self.in_use or not self._members:
            return
        views = [_joint(self._of_rank(rank), 0) for rank in self._levels]
        last = self._choice.choose(views, asyncio.get_running_loop().time())[-1]
        for rank in self._levels[: last + 1]:
            for server in self._of_rank(rank):
                server.start_beside(self.servers())
        for rank in self._levels[last + 1 :]:
            for server in self._of_rank(rank):
                await server.leave()

    def _of_rank(self, rank: int) -> list[SingleServer]:
        return [server for address, server in self._members.items() if self._ranks[address] == rank]

    async def stop(self, farewell: Signal = Signal.MOVED) -> None:
        """Disconnect cleanly from all servers; users in flight stay."""
        await super().stop(farewell)
        await self._leave(list(self._members), farewell)

    def adopt(self, config: ClientConfig, name: str) -> None:
        """Use another configuration; the servers are named by their addresses."""
        del name
        self.config = config
        for address, server in self._members.items():
            server.adopt(config.at(address), str(address))

    def _begin(self) -> Coroutine[Any, Any, None]:
        self._failures = 0
        return self._follow()

    async def _follow(self) -> None:
        while True:
            try:
                listed = await self._listing.look_up(self.config)
            except OSError as error:
                self._fail(error)
            else:
                await self._update(listed)
            await asyncio.sleep(self._timings.names if self._members else self.config.retry_interval)

    def _fail(self, error: OSError) -> None:
        self._problem = f"can't look up {self.config.remote_addr}: {reason(error)}"
        self._throttle.error("look-up", self._problem)
        self._failures += 1
        self._tunnels.changed()

    async def _update(self, listed: Ranks) -> None:
        """Add new servers, and leave lost ones that are no longer listed."""
        self._failures = 0
        await self._leave([one for one in self._members if one not in listed and self._is_lost(one)])
        for address in listed:
            self._enter(address)
        self._rank(listed)
        await self.choose()

    def _is_lost(self, address: Address) -> bool:
        return not self._members[address].view.connected

    def _enter(self, address: Address) -> None:
        if address in self._members:
            return
        try:
            self._members[address] = SingleServer(self._tunnels, self.config.at(address), str(address), address.host)
        except BackhaulError as error:
            self._throttle.error("tunnel", f"{address}: {error}")

    def _rank(self, listed: Ranks) -> None:
        """Give the servers their ranks; those in use stay in use until the next choice."""
        ranks = {address: rank for address, rank in (self._ranks | listed).items() if address in self._members}
        if ranks != self._ranks:
            self._ranks, self._levels = ranks, sorted(set(ranks.values()))
            used = [self._levels.index(ranks[address]) for address, one in self._members.items() if one.in_use]
            self._choice = InOrder(stable=self._timings.stable, last=max(used, default=0))

    async def _leave(self, addresses: Iterable[Address], farewell: Signal = Signal.MOVED) -> None:
        for address in addresses:
            server = self._members.pop(address)
            self._tunnels.retire(server.tunnel)  # first, because the end of the program may interrupt the stop
            await server.stop(farewell)


def _joint(servers: list[SingleServer], failures: int) -> View:
    """Return the best standing of these servers; ``failures`` counts those without a server."""
    views = [server.view for server in servers]
    return View(
        any(view.connected for view in views),
        min((view.failures for view in views), default=failures),
        min((view.since for view in views), default=math.inf),
    )
