"""The servers of a client's configuration, each with its tunnel."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Protocol

from backhaul.config import ClientConfig
from backhaul.errors import BackhaulError, TransportError
from backhaul.wire.signals import Signal

from .best import UNREACHABLE, Measurement
from .client import ClientTunnel
from .standing import View

log = logging.getLogger("backhaul.client")


class NotMeasurableError(BackhaulError):
    """The server may be one of v0.7.2, which would take a question for a tunnel connection."""


class Tunnels(Protocol):
    """The maker of tunnels, and the keeper of tunnels that were left."""

    def make(self, config: ClientConfig, host: str = "", name: str = "") -> ClientTunnel:
        """Return a tunnel to ``host``, or to that of the configuration. Raises BackhaulError."""

    def retire(self, tunnel: ClientTunnel) -> None:
        """Keep a tunnel that stops as long as users may still arrive; later calls do nothing."""

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
        """The standing of the server."""

    @property
    def problem(self) -> str:
        """The reason why it has no tunnel; empty if it has one."""
        return ""

    async def measure(self) -> Measurement:
        """Measure the line to the server. Raises NotMeasurableError."""
        raise NotMeasurableError

    @property
    def has_reserve(self) -> bool:
        """True if it stands for servers that are in use while others can't be reached."""
        return False

    @abstractmethod
    def servers(self) -> Iterator["SingleServer"]:
        """Return itself, or the servers for which it stands."""

    def tunnels(self) -> Iterator[ClientTunnel]:
        """Return its tunnels."""
        return (server.tunnel for server in self.servers())

    def expect_change(self) -> None:
        """Expect some failed attempts: this end was reloaded, and the server may follow."""
        for tunnel in self.tunnels():
            tunnel.expect_change()

    @abstractmethod
    async def choose(self) -> None:
        """Start and stop the servers for which it stands."""

    def start_beside(self, others: Iterable["Destination"]) -> None:
        """Connect; the log tells if any of ``others`` is in use."""
        if not self.in_use and any(other.in_use for other in others):
            log.info("%s: dialled too", self.name)
        self.start()

    async def leave(self) -> None:
        """Disconnect cleanly if it is in use; users in flight stay."""
        if self.in_use:
            log.info("%s: left; users in flight stay", self.name)
            await self.stop()

    def start(self) -> None:
        """Connect, and stay connected."""
        if not self._running:
            self._running = asyncio.create_task(self._begin())

    async def stop(self, farewell: Signal = Signal.MOVED) -> None:
        """Disconnect cleanly, with CLOSED if this process ends; users in flight stay."""
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
        """The standing of the server."""
        return self.tunnel.view

    async def measure(self) -> Measurement:
        """Measure the line to the server. Raises NotMeasurableError."""
        transport = self.tunnel.transport
        if not transport.measurable:
            raise NotMeasurableError
        try:
            answer = await transport.measure()
        except (OSError, TransportError) as error:
            log.debug("%s: not measured: %s", self.name, error)
            return UNREACHABLE
        return Measurement(answer.seconds, lossy=answer.resent > 0)

    def servers(self) -> Iterator["SingleServer"]:
        """Return itself."""
        yield self

    async def choose(self) -> None:
        """Do nothing: others start and stop it."""

    async def stop(self, farewell: Signal = Signal.MOVED) -> None:
        """Disconnect cleanly; users in flight stay."""
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
