"""The table of all operations. Both doors and the description in OpenAPI are made from it."""

from dataclasses import dataclass
from typing import Final, Literal

from msgspec import Struct

from backhaul.monitor.samples import HistoryStatus
from backhaul.monitor.status import Event, Status
from backhaul.monitor.traffic import TrafficStatus

from .messages import (
    Checked,
    CheckRequest,
    Choice,
    Closed,
    Configuration,
    ConnectionList,
    ConnectionsQuery,
    Drained,
    DrainRequest,
    EventsQuery,
    HistoryQuery,
    Loaded,
    Nothing,
    Reopened,
)

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

_SMALL: Final = 1 << 14  # bytes; any valid request is smaller
_FILE: Final = 1 << 18  # bytes of a configuration, which has thousands of ports then


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """An operation for administrators."""

    name: str
    """The path below ``/api/``."""
    method: Literal["GET", "POST"]
    """POST for operations that change something, or that are expensive."""
    summary: str
    answer: type[Struct]
    query: type[Struct] = Nothing
    body: type[Struct] = Nothing
    most: int = _SMALL
    """The largest body in bytes."""
    media: str = JSON
    """The type of the answer."""
    private: bool = False
    """True if visitors of a page without a login must not call it."""

    @property
    def path(self) -> str:
        """The path of the URL."""
        return f"/api/{self.name}"


class Description(Struct):
    """This description, OpenAPI 3.1."""

    openapi: str


STATUS: Final = Operation("status", "GET", "Return the state of the tunnel and of its ports.", Status)
TRAFFIC: Final = Operation(
    "traffic", "GET", "Return the throughput of the last minutes and the load of the machine.", TrafficStatus
)
HISTORY: Final = Operation(
    "history", "GET", "Return the users and bytes of the last day, minute by minute.", HistoryStatus, query=HistoryQuery
)
CONFIGURATION: Final = Operation(
    "configuration", "GET", "Return the configuration in effect, without secrets.", Configuration, private=True
)
CONNECTIONS: Final = Operation(
    "connections", "GET", "List the users in flight.", ConnectionList, query=ConnectionsQuery
)
FOLLOW: Final = Operation(
    "events",
    "GET",
    "Send the kept lines of the log, then each new one, as server-sent events.",
    Event,
    query=EventsQuery,
    media=EVENTS,
)
DESCRIBE: Final = Operation("openapi.json", "GET", "Return this description.", Description)
CLOSE: Final = Operation("connections/close", "POST", "Reset the chosen users.", Closed, body=Choice)
RELOAD: Final = Operation("reload", "POST", "Read the configuration file again, and apply it.", Loaded)
REOPEN: Final = Operation("reopen", "POST", "Reopen the access log, whose file has been renamed.", Reopened)
CHECK: Final = Operation(
    "check", "POST", "Check a configuration without applying it.", Checked, body=CheckRequest, most=_FILE
)
DRAIN: Final = Operation("drain", "POST", "Refuse new users, and keep present ones.", Drained, body=DrainRequest)
RESUME: Final = Operation("resume", "POST", "Admit new users again.", Drained, body=DrainRequest)

OPERATIONS: Final = (
    *(STATUS, TRAFFIC, HISTORY, CONFIGURATION, CONNECTIONS, FOLLOW, DESCRIBE),
    *(CLOSE, RELOAD, REOPEN, CHECK, DRAIN, RESUME),
)
