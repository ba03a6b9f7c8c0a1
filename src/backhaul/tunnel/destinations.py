"""All servers of a client, and which of them are in use."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from backhaul.config import ClientConfig
from backhaul.config.address import EveryAddress
from backhaul.config.diff import diff, protects_alike
from backhaul.state import DestinationState, SessionState
from backhaul.wire.signals import Signal

from .best import Best
from .choice import Choice, InOrder, Together
from .client import ClientTunnel
from .destination import Destination, NotMeasurableError, SingleServer, Tunnels
from .every_server import EveryServer
from .listing import NameResolvers, make_listing
from .timings import Timings

log = logging.getLogger("backhaul.client")

_LOOK: Final = 1.0  # seconds between looks at servers, for changes that are due without an event


class Replacement(NamedTuple):
    """A server of the former configuration, which serves users until its successor is connected."""

    old: Destination
    new: Destination
    until: float

    def over(self, now: float) -> bool:
        """Return whether it is time to leave the old one."""
        return self.new.view.connected or not self.old.view.connected or now > self.until


class Destinations:
    """The servers of a configuration; those that the mode wants are connected."""

    def __init__(self, config: ClientConfig, tunnels: Tunnels, names: NameResolvers, timings: Timings) -> None:
        """Raise BackhaulError if the configuration is unusable."""
        self._tunnels = tunnels
        self._names = names
        self._timings = timings
        self._changed = asyncio.Event()
        self._all = [self._make(each, name) for each, name in _named(config)]
        self._choice = self._make_choice(config)
        self._running: list[asyncio.Task[None]] = []
        self._replacement: Replacement | None = None

    @property
    def first(self) -> Destination:
        """The server of ``remote_addr``."""
        return self._all[0]

    def tunnels(self) -> Iterator[ClientTunnel]:
        """Return the tunnels to all servers."""
        for one in (*self._all, *self._replaced):
            yield from one.tunnels()

    @property
    def _replaced(self) -> list[Destination]:
        return [self._replacement.old] if self._replacement else []

    @property
    def pool_size(self) -> int:
        """The number of idle tunnel connections to keep now, of all servers in use."""
        return sum(server.tunnel.pool_size for one in self._all for server in one.servers() if server.in_use)

    def states(self) -> Iterator[DestinationState]:
        """Return the state of each server."""
        for one in self._all:
            yield from _states(one)
        for one in self._replaced:
            yield from (msgspec.structs.replace(state, replaced=True) for state in _states(one))

    def changed(self) -> None:
        """Choose again, because a server was reached or lost, or not reached."""
        self._changed.set()

    def start(self) -> None:
        """Connect to the servers that the mode selects."""
        self._running = [asyncio.create_task(self._keep_choosing())]
        if isinstance(self._choice, Best):
            self._running.append(asyncio.create_task(self._keep_measuring(self._choice)))

    async def stop(self, farewell: Signal = Signal.MOVED) -> None:
        """Disconnect cleanly from all servers, with CLOSED if this process ends; users in flight stay."""
        await self._stop_choosing()
        for one in self._all:
            await one.stop(farewell)
        await self._leave_replaced(farewell)

    async def adopt(self, config: ClientConfig) -> None:
        """Use another configuration, which touches only those servers that differ.

        Raises BackhaulError if it is unusable; nothing has changed then.
        """
        before, running = self._all, self._running
        present, following = self._match(config)
        await self._stop_choosing()
        await self._leave_replaced()
        for one, each, name in following:
            one.adopt(each, name)
        _carry_on(self._all[0], following[0][0])
        self._all = [one for one, _, _ in following]
        self._choice = self._make_choice(config)
        if running:
            made = [one for one in self._all if one not in before]
            self._replace(present, made)
            for one in made:
                one.expect_change()
        for one in present:
            await self._leave(one)
        if running:
            self.start()

    def _match(self, config: ClientConfig) -> tuple[list[Destination], list[tuple[Destination, ClientConfig, str]]]:
        """Return the servers to leave, and those of ``config``, present ones where these need no other connection."""
        present, following = list(self._all), []
        for each, name in _named(config):
            same = next((one for one in present if not diff(one.config, each).rebuild), None)
            if same:
                present.remove(same)
            following.append((same or self._make(each, name), each, name))
        return present, following

    def _replace(self, present: list[Destination], made: list[Destination]) -> None:
        """Keep a single server until its only successor is connected; others are left in ``present``."""
        if len(present) != 1 or len(made) != 1 or not _may_stay(present[0], made[0]):
            return
        old, until = present.pop(), asyncio.get_running_loop().time() + self._timings.replacement
        for tunnel in old.tunnels():
            tunnel.adopt(made[0].config)  # what changes in place holds for all users
        self._replacement = Replacement(old, made[0], until)

    async def _relieve(self) -> None:
        """Leave a replaced server; if it is lost its successor is dialled at once, because both ends have changed."""
        replacement = self._replacement
        if replacement and replacement.over(asyncio.get_running_loop().time()):
            await self._leave_replaced()
            if replacement.new.in_use and not replacement.new.view.connected:
                await replacement.new.stop()
                replacement.new.expect_change()
                replacement.new.start()

    async def _leave_replaced(self, farewell: Signal = Signal.MOVED) -> None:
        replaced, self._replacement = self._replaced, None
        for one in replaced:
            await self._leave(one, farewell)

    def _make(self, config: ClientConfig, name: str) -> Destination:
        if isinstance(config.remote_addr, EveryAddress):
            return EveryServer(self._tunnels, config, make_listing(config, self._names), self._timings)
        return SingleServer(self._tunnels, config, name)

    def _make_choice(self, config: ClientConfig) -> Choice:
        if config.servers_mode == "all":
            return Together()
        used = [place for place, one in enumerate(self._all) if one.in_use]
        if config.servers_mode == "best":
            connected = (place for place in used if self._all[place].view.connected)
            return Best(len(self._all), next(connected, 0))
        return InOrder(stable=self._timings.stable, last=max(used, default=0))

    async def _keep_choosing(self) -> None:
        while True:
            try:
                await self._choose()
            except Exception:
                log.exception("internal error; the servers in use stay as they are")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK if self._has_choice else None):
                    await self._changed.wait()
            self._changed.clear()

    @property
    def _has_choice(self) -> bool:
        return len(self._all) > 1 or bool(self._replacement) or any(one.has_reserve for one in self._all)

    async def _keep_measuring(self, best: Best) -> None:
        while True:
            for place, one in enumerate(self._all):
                try:
                    best.measured(place, await one.measure())
                except NotMeasurableError:
                    continue
                except Exception:
                    log.exception("internal error; %s is not measured this time", one.name)
            self.changed()
            await asyncio.sleep(self._timings.measure)

    async def _choose(self) -> None:
        await self._relieve()
        for one in self._all:
            await one.choose()
        views = [one.view for one in self._all]
        wanted = self._choice.choose(views, asyncio.get_running_loop().time())
        for place in wanted:
            self._all[place].start_beside(self._all)
        for place, one in enumerate(self._all):
            if place not in wanted:
                await one.leave()

    async def _stop_choosing(self) -> None:
        running, self._running = self._running, []
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _leave(self, one: Destination, farewell: Signal = Signal.MOVED) -> None:
        for tunnel in list(one.tunnels()):
            self._tunnels.retire(tunnel)
        await one.stop(farewell)


def together(sessions: Sequence[SessionState]) -> SessionState:
    """Return the state of several tunnels as one."""
    if len(sessions) == 1:
        return sessions[0]
    connected = any(one.connected for one in sessions)
    problems = [one.problem for one in sessions if one.problem and not connected]
    return SessionState(
        connected=connected,
        peer=", ".join(one.peer for one in sessions if one.peer),
        problem=next(iter(problems), ""),
        opened=sum(one.opened for one in sessions),
        rtt=0,
        idle=sum(one.idle for one in sessions),
    )


def _named(config: ClientConfig) -> Iterator[tuple[ClientConfig, str]]:
    """Yield the configuration of each server, and its name; a single one needs none."""
    if not config.others:
        yield config, ""
        return
    names: Counter[str] = Counter()
    for each in config.doors:
        edge = f" via {each.edge_ip}" if each.dialled.host == each.edge_ip else ""
        name = f"{each.remote_addr}{edge}"
        names[name] += 1
        yield each, name if names[name] == 1 else f"{name} ({names[name]})"


def _may_stay(old: Destination, new: Destination) -> bool:
    """Return whether users may be served as before until the new tunnel is connected.

    One of v0.7.2 may take the second control channel for that of another client. A name with several servers is looked
    up again and again.
    """
    if not (isinstance(old, SingleServer) and isinstance(new, SingleServer)):
        return False
    return old.tunnel.extended and protects_alike(old.config, new.config)


def _carry_on(old: Destination, new: Destination) -> None:
    """Count the control channels of a replaced server with those of its successor."""
    for before, after in zip(old.tunnels(), new.tunnels(), strict=False):
        after.opened = before.opened


def _states(one: Destination) -> Iterator[DestinationState]:
    for server in one.servers():
        yield DestinationState(server.name, one.config.transport, server.in_use, server.tunnel.session())
    if one.problem:
        nothing = SessionState(connected=False, peer="", problem=one.problem, opened=0, rtt=0, idle=0)
        yield DestinationState(one.name, one.config.transport, one.in_use, nothing)
