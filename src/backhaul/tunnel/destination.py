"""The servers of a client's configuration, each with its tunnel, or with one to each of its addresses."""

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Final, Protocol

import msgspec

from backhaul.config import Address, ClientConfig
from backhaul.errors import BackhaulError, TransportError, reason
from backhaul.net.connector import scoped_host
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.resolver import Answer, Resolver
from backhaul.wire.signals import Signal

from .best import UNREACHABLE, Measurement
from .client import ClientTunnel
from .standing import View

log = logging.getLogger("backhaul.client")

MOST_ADDRESSES: Final = 64
"""Addresses of a name, whose owner may give it thousands."""


class NotMeasurableError(BackhaulError):
    """The server may be one of v0.7.2, which would take a question for a tunnel connection."""


class Tunnels(Protocol):
    """The maker of tunnels, and the keeper of those that are left."""

    def make(self, config: ClientConfig, host: str = "", name: str = "") -> ClientTunnel:
        """Return a tunnel to ``host``, or to that of the configuration. Raises BackhaulError."""

    def retire(self, tunnel: ClientTunnel) -> None:
        """Keep a stopped tunnel as long as users may still arrive."""

    def changed(self) -> None:
        """Note that a server was reached or lost, or not reached."""


class Destination(ABC):
    """A server of the configuration."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._running: asyncio.Task[None] | None = None

    @property
    def in_use(self) -> bool:
        """True from ``start`` to ``stop``."""
        return self._running is not None

    @property
    def name(self) -> str:
        """Its name in the log."""
        return str(self.config.remote_addr)

    @property
    @abstractmethod
    def view(self) -> View:
        """How well it is reached."""

    @property
    def problem(self) -> str:
        """The reason why it has no tunnel; empty if it has one."""
        return ""

    async def measure(self) -> Measurement:
        """Ask the server how good the line is. Raises NotMeasurableError."""
        raise NotMeasurableError

    @abstractmethod
    def tunnels(self) -> Iterator[ClientTunnel]:
        """Return its tunnels."""

    def start(self) -> None:
        """Connect, and stay connected."""
        if not self._running:
            self._running = asyncio.create_task(self._begin())

    async def stop(self, farewell: Signal = Signal.MOVED) -> None:
        """Say goodbye, with CLOSED if this process ends; users in flight stay."""
        del farewell
        if running := self._running:
            self._running = None
            running.cancel()
            await asyncio.wait([running])

    @abstractmethod
    def _begin(self) -> Coroutine[Any, Any, None]:
        """Forget earlier failures, and return what keeps the server connected."""

    @abstractmethod
    def adopt(self, config: ClientConfig, name: str) -> None:
        """Use another configuration that needs no new control channel, and another name in the log."""


class SingleServer(Destination):
    """A server with one tunnel."""

    def __init__(self, tunnels: Tunnels, config: ClientConfig, name: str = "", host: str = "") -> None:
        """Raise BackhaulError if the configuration is unusable."""
        super().__init__(config)
        self.tunnel = tunnels.make(config, host, name)
        self.tunnel.standing.listener = tunnels.changed

    @property
    def name(self) -> str:
        """Its name in the log."""
        return self.tunnel.name or super().name

    @property
    def view(self) -> View:
        """How well it is reached."""
        return self.tunnel.view

    async def measure(self) -> Measurement:
        """Ask the server how good the line is. Raises NotMeasurableError."""
        transport = self.tunnel.transport
        if not transport.measurable:
            raise NotMeasurableError
        try:
            answer = await transport.measure()
        except (OSError, TransportError) as error:
            log.debug("%s: not measured: %s", self.name, error)
            return UNREACHABLE
        return Measurement(answer.seconds, lossy=answer.resent > 0)

    def tunnels(self) -> Iterator[ClientTunnel]:
        """Return its tunnel."""
        yield self.tunnel

    async def stop(self, farewell: Signal = Signal.MOVED) -> None:
        """Say goodbye; users in flight stay."""
        if self.in_use:
            self.tunnel.stop(farewell)
        await super().stop(farewell)

    def adopt(self, config: ClientConfig, name: str) -> None:
        """Use another configuration, and another name in the log."""
        self.config = config
        self.tunnel.adopt(config)
        self.tunnel.name = name

    def _begin(self) -> Coroutine[Any, Any, None]:
        self.tunnel.standing.begin()
        return self.tunnel.run()


class EveryServer(Destination):
    """A name with a server at each of its addresses.

    The name is looked up every ``every`` seconds. A connected server whose address is gone stays until it is lost: an
    answer may hold only some of the addresses.
    """

    def __init__(self, tunnels: Tunnels, config: ClientConfig, resolver: Resolver, every: float) -> None:
        super().__init__(config)
        self._tunnels = tunnels
        self._resolver = resolver
        self._every = every
        self._members: dict[str, SingleServer] = {}
        self._throttle = LogThrottle(log)
        self._failures = 0  # look-ups in a row
        self._problem = ""

    @property
    def view(self) -> View:
        """How well any of the servers is reached."""
        views = [member.view for member in self._members.values()]
        return View(
            any(view.connected for view in views),
            min((view.failures for view in views), default=self._failures),
            min((view.since for view in views), default=math.inf),
        )

    @property
    def problem(self) -> str:
        """The reason why it has no tunnel."""
        return "" if self._members else self._problem

    def tunnels(self) -> Iterator[ClientTunnel]:
        """Return the tunnels to all addresses."""
        for member in list(self._members.values()):
            yield from member.tunnels()

    async def stop(self, farewell: Signal = Signal.MOVED) -> None:
        """Say goodbye to all servers; users in flight stay."""
        await super().stop(farewell)
        await self._leave(list(self._members), farewell)

    def adopt(self, config: ClientConfig, name: str) -> None:
        """Use another configuration; the servers are named by their addresses."""
        del name
        self.config = config
        for host, member in self._members.items():
            member.adopt(self._config_of_members, self._name(host))

    @property
    def _config_of_members(self) -> ClientConfig:
        remote = self.config.remote_addr
        return msgspec.structs.replace(self.config, remote_addr=Address(remote.host, remote.port))

    def _name(self, host: str) -> str:
        return str(Address(host, self.config.remote_addr.port))

    def _begin(self) -> Coroutine[Any, Any, None]:
        self._failures = 0
        return self._follow()

    async def _follow(self) -> None:
        while True:
            await self._update(await self._look_up())
            await asyncio.sleep(self._every if self._members else self.config.retry_interval)

    async def _look_up(self) -> Answer:
        name, answer = self.config.remote_addr.host, asyncio.get_running_loop().create_future()
        self._resolver.doubt(name)
        query = self._resolver.resolve(name, lambda found: None if answer.done() else answer.set_result(found))
        try:
            return await answer  # type: ignore[no-any-return]
        finally:
            query.cancel()

    async def _update(self, answer: Answer) -> None:
        """Connect to new addresses, and leave lost servers whose address is gone."""
        if isinstance(answer, OSError):
            self._problem = f"can't look up {self.config.remote_addr}: {reason(answer)}"
            self._throttle.error("look-up", self._problem)
            self._failures += 1
            self._tunnels.changed()
            return
        hosts = list(dict.fromkeys(scoped_host(address) for _, address in answer))[:MOST_ADDRESSES]
        self._failures = 0
        await self._leave([host for host in self._members if host not in hosts and self._is_lost(host)])
        self._enter(host for host in hosts if host not in self._members)

    def _is_lost(self, host: str) -> bool:
        return not self._members[host].view.connected

    def _enter(self, hosts: Iterable[str]) -> None:
        for host in hosts:
            try:
                self._members[host] = SingleServer(self._tunnels, self._config_of_members, self._name(host), host)
            except BackhaulError as error:
                self._throttle.error("tunnel", f"{self._name(host)}: {error}")
                continue
            self._members[host].start()

    async def _leave(self, hosts: Iterable[str], farewell: Signal = Signal.MOVED) -> None:
        for host in hosts:
            member = self._members.pop(host)
            await member.stop(farewell)
            self._tunnels.retire(member.tunnel)
