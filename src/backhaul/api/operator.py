"""The contract between the API and the program that it administers."""

from typing import Protocol

from backhaul.monitor.connections import Connections
from backhaul.monitor.events import EventLog
from backhaul.monitor.samples import HistoryStatus
from backhaul.monitor.status import Status
from backhaul.monitor.traffic import TrafficStatus

from .messages import Checked, Configuration, Drained, Loaded, Reopened


class Operator(Protocol):
    """A running end; all methods are called in the event loop."""

    @property
    def file(self) -> str:
        """The full path of the configuration file."""

    @property
    def connections(self) -> Connections:
        """The users in flight."""

    @property
    def events(self) -> EventLog:
        """The last lines of the log."""

    async def status(self) -> Status:
        """Return the present status."""

    def traffic(self) -> TrafficStatus:
        """Return the throughput of the last minutes; raise BackhaulError if it is not sampled."""

    async def history(self, series: str) -> HistoryStatus:
        """Return the last day of a series; raise BackhaulError if it is not sampled."""

    def configuration(self) -> Configuration:
        """Return the configuration in effect."""

    async def reload(self) -> Loaded:
        """Read the configuration file again; raise BackhaulError while the program stops."""

    def reopen(self) -> Reopened:
        """Reopen the access log."""

    async def check(self, text: str) -> Checked:
        """Check a configuration, or without a text the file in use."""

    async def drain(self, client: str) -> Drained:
        """Refuse new users until ``resume``, of one client or of all; raise BackhaulError if there is none."""

    async def resume(self, client: str) -> Drained:
        """Admit new users again."""
