"""The idle tunnel connections of a client."""

import asyncio
import logging

from backhaul.config import ClientConfig
from backhaul.errors import reason, retry_after
from backhaul.net.log_throttle import LogThrottle
from backhaul.transports.client_end import ClientTransport

from .dial_pace import DialPace
from .openings import Openings
from .pool import PoolSize
from .requests import Requests
from .timings import Timings
from .trial import Trial


class ConnectionPool:
    """Dials tunnel connections for the server's requests, and in place of dead ones."""

    def __init__(
        self,
        transport: ClientTransport,
        config: ClientConfig,
        timings: Timings,
        logger: logging.LoggerAdapter[logging.Logger],
        *,
        fair_share: int,
        descriptors: int,
    ) -> None:
        """``fair_share`` and ``descriptors`` are the numbers of descriptors for idle connections and for all uses."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._config = config
        self._fair_share, self._descriptors = fair_share, descriptors
        self.demand = PoolSize(config.connection_pool, aggressive=config.aggressive_pool)
        """The number of idle tunnel connections to keep now, which follows requests and arriving users."""
        self._pace = DialPace(transport.open, config.dial_rate)
        self._requests = Requests(self._meet)
        self._trial = Trial(Openings(timings.refill_pauses, logger))
        self._throttle = LogThrottle(logger)

    @property
    def problem(self) -> str:
        """The reason why tunnel connections can't be opened, or carry nothing; empty if there is none."""
        return self._transport.obstacle or ("" if self._transport.open_now else self._trial.problem)

    def adopt(self, config: ClientConfig) -> None:
        """Use another configuration."""
        before, self._config = self._config, config
        if before.dial_rate != config.dial_rate:
            self._pace.set_rate(config.dial_rate)
        if (before.connection_pool, before.aggressive_pool) != (config.connection_pool, config.aggressive_pool):
            self.demand = PoolSize(config.connection_pool, aggressive=config.aggressive_pool)

    def begin(self) -> None:
        """Begin again with a new control channel."""
        self._trial.begin()

    def clear(self) -> None:
        """Forget the connections that are to be dialled, because the control channel is lost."""
        self._requests.clear()
        self._pace.clear()

    def requested(self, count: int) -> None:
        """Dial so many connections that the server has requested, unless more than enough are idle."""
        self._requests.add(count)

    def opened(self) -> None:
        """Note that a connection was opened, which may be closed at once."""
        self._trial.opened()

    def arrived(self) -> None:
        """Note that a connection has got a user."""
        self.demand.arrived()
        self._trial.lasted()

    def failed(self, error: Exception) -> None:
        """Note that a connection could not be opened."""
        self._trial.failed(reason(error), self._loop.time(), retry_after(error))

    def fill(self) -> None:
        """Dial the connections that are missing; call it once a second."""
        transport = self._transport
        missing = self.demand.sample(transport.idle, transport.opening + self._pace.waiting, transport.shared)
        self._trial.look(any_open=transport.open_now > 0)
        if self._trial.due(self._loop.time()):
            for _ in range(missing):
                self._open()

    def _meet(self) -> bool:
        """Meet a request of the server; return False if it asks for too many."""
        return not self.demand.requested(self._transport.spare) or self._open()

    def _open(self) -> bool:
        """Dial one more connection, up to two limits, because a server may ask for any number.

        Return whether it is within both.
        """
        transport, least = self._transport, self._config.connection_pool
        coming = transport.opening + self._pace.waiting
        unused = max(self._fair_share, least)
        most = max(self._descriptors // 2, least)  # a user takes another descriptor
        if transport.idle + coming >= unused:
            return self._refuse(unused)
        if transport.connections + self._pace.waiting >= most:
            return self._refuse(most)
        self._pace.request()
        return True

    def _refuse(self, most: int) -> bool:
        self._throttle.warn(
            "connections",
            f"the server asks for more than {most} tunnel connections: refused; "
            "if it has so many users, raise the limit of open files (LimitNOFILE)",
        )
        return False
