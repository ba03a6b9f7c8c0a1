"""A program that the API administers, played by a test."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.monitor.sample import Tunnel

from backhaul.api.messages import Checked, Configuration, Drained, Loaded, Reopened, Setting
from backhaul.errors import BackhaulError
from backhaul.monitor.connections import Connections, ConnectionStatus
from backhaul.monitor.events import EventLog
from backhaul.monitor.samples import HistoryStatus
from backhaul.monitor.status import Status
from backhaul.monitor.traffic import TrafficBoard, TrafficStatus
from backhaul.selection import Selection

from .connections import USER


@dataclass
class Users:
    """Users in flight, who leave when they are closed, and the selections that were listed and closed."""

    rows: list[ConnectionStatus] = field(default_factory=lambda: [USER])
    others: int = 1
    """Users who are not chosen."""
    listed: list[Selection] = field(default_factory=list)
    closed: list[Selection] = field(default_factory=list)

    def all(self, selection: Selection) -> Iterator[ConnectionStatus | None]:
        self.listed.append(selection)
        return iter([*self.rows, *[None] * self.others])

    def close(self, selection: Selection) -> Iterator[bool]:
        self.closed.append(selection)
        chosen = [True for row in self.rows if selection.number in {0, row.id}]
        self.rows = [row for row in self.rows if selection.number not in {0, row.id}]
        return iter([*chosen, *[False] * self.others])


@dataclass
class SampleOperator:
    """Carries out the operations by noting them."""

    users: Users = field(default_factory=Users)
    tunnel: Tunnel = field(default_factory=Tunnel)
    events: EventLog = field(default_factory=EventLog)
    board: TrafficBoard = field(default_factory=TrafficBoard)
    loaded: Loaded = field(default_factory=lambda: Loaded(loaded=True))
    access_log: str = ""
    stopping: bool = False
    done: list[str] = field(default_factory=list)

    @property
    def file(self) -> str:
        return self.tunnel.read().config

    @property
    def connections(self) -> Connections:
        return Connections(self.users.all, self.users.close)

    async def status(self) -> Status:
        return self.tunnel.read()

    def traffic(self) -> TrafficStatus:
        return self.board.read()

    async def history(self, series: str) -> HistoryStatus:
        return await self.board.history(series)

    def configuration(self) -> Configuration:
        return Configuration(self.file, (Setting("nodelay", "true", "", default=False),))

    async def reload(self) -> Loaded:
        if self.stopping:
            raise BackhaulError("the program stops")
        self.done.append("reload")
        return self.loaded

    def reopen(self) -> Reopened:
        self.done.append("reopen")
        return Reopened(self.access_log)

    async def check(self, text: str) -> Checked:
        self.done.append(f"check {text}")
        return Checked(valid=bool(text))

    async def drain(self, client: str) -> Drained:
        self.done.append(f"drain {client}".rstrip())
        return Drained(draining=True, users=len(self.users.rows))

    async def resume(self, client: str) -> Drained:
        self.done.append(f"resume {client}".rstrip())
        return Drained(draining=False, users=len(self.users.rows))
