"""The operations of the API on one running end."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from backhaul.api.messages import Checked, Configuration, Drained, Loaded, Reopened, Setting
from backhaul.config import ConfigError, load_usable
from backhaul.config.diff import diff
from backhaul.config.effective import settings
from backhaul.config.foreign import parse_foreign
from backhaul.config.schema import Config
from backhaul.monitor.events import EventLog
from backhaul.monitor.samples import HistoryStatus
from backhaul.monitor.status import Status, Survey
from backhaul.monitor.traffic import TrafficBoard, TrafficStatus
from backhaul.system.log import escape

from .bare_tokens import warned
from .client import Client
from .errors import BackhaulError, reason
from .overview import connections
from .reloads import Reloads, changes_of
from .server import Server
from .threads import in_thread


class Administration:
    """Carries out the requests of administrators through the API."""

    def __init__(
        self,
        end: Server | Client,
        file: Path,
        *,
        survey: Survey,
        events: EventLog,
        reloads: Reloads,
        board: TrafficBoard,
        config: Callable[[], Config],
        reopen: Callable[[], str],
    ) -> None:
        """``config`` returns the configuration in force, read from ``file``; ``reopen`` is that of the access log."""
        self.connections = connections(end.users, end.close_users)
        self.events = events
        self._survey = survey
        self._board = board
        self._reloads = reloads
        self._end = end
        self.file = escape(str(file.absolute()))
        self._file = file
        self._config = config
        self._reopen = reopen
        self._checking = asyncio.Lock()

    async def status(self) -> Status:
        """Return the present status."""
        return await self._survey()

    def traffic(self) -> TrafficStatus:
        """Return the throughput of the last minutes; raise NotSampledError without a page."""
        return self._board.read()

    async def history(self, series: str) -> HistoryStatus:
        """Return the last day of a series; raise NotSampledError without a page."""
        return await self._board.history(series)

    def configuration(self) -> Configuration:
        """Return the configuration in effect."""
        found = tuple(Setting(*one) for one in settings(self._config()))
        return Configuration(self.file, found)

    async def reload(self) -> Loaded:
        """Read the configuration file again; raise BackhaulError while the program stops."""
        return await self._reloads.ask()

    def reopen(self) -> Reopened:
        """Reopen the access log."""
        return Reopened(self._reopen())

    async def check(self, text: str) -> Checked:
        """Check a configuration, or without a text the file in use; a thread reads it, because that may take long."""
        async with self._checking:
            try:
                new = await in_thread(_load, self._file, text)
            except ConfigError as error:
                return Checked(valid=False, problems=error.problems)
            except OSError as error:
                raise BackhaulError(reason(error)) from None
        return Checked(valid=True, warnings=new.warnings, changes=changes_of(diff(self._config(), new)))

    async def drain(self, client: str) -> Drained:
        """Refuse new users until ``resume``; raise BackhaulError while the program stops."""
        self._refuse_while_stopping()
        await self._end.drain(client)
        return await self._drained(client)

    async def resume(self, client: str) -> Drained:
        """Admit new users again; raise BackhaulError while the program stops."""
        self._refuse_while_stopping()
        await self._end.resume(client)
        return await self._drained(client)

    def _refuse_while_stopping(self) -> None:
        if self._end.stopping:
            raise BackhaulError("the program stops; what it does with its users cannot be changed any more")

    async def _drained(self, name: str) -> Drained:
        status = await self.status()
        for client in status.clients:
            if name and client.name == name:
                return Drained(client.draining, client.users)
        return Drained(status.draining, status.users)


def _load(file: Path, text: str) -> Config:
    return warned(parse_foreign(text, os.environ) if text else load_usable(file))
