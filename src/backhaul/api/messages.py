"""The types of requests and answers. A field that is 0 or empty in a request is not set."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from backhaul.addresses import parse_user
from backhaul.monitor.connections import ConnectionStatus
from backhaul.monitor.settings import Login
from backhaul.selection import Selection

MAX_ID: Final = 2**63 - 1
MAX_PAGE: Final = 100_000

_Id = Annotated[int, Meta(ge=0, le=MAX_ID, description="The id of one user.")]
_User = Annotated[
    str,
    Meta(max_length=100, description="Users from this address, or from this address and port.", examples=["192.0.2.1"]),
]
_Port = Annotated[int, Meta(ge=0, le=65535, description="Users of this local port of the server.")]
_Protocol = Annotated[str, Meta(pattern="^(tcp|udp)?$", description="Users of this protocol: tcp or udp.")]
_Client = Annotated[str, Meta(max_length=255, description="Users of this client: its name, or else its address.")]
_Target = Annotated[str, Meta(max_length=300, description="Users of this target, written as in the list of users.")]


class Nothing(Struct, forbid_unknown_fields=True):
    """A request without parameters."""


class Choice(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A choice of users; each field that is set narrows it."""

    id: _Id = 0
    user: _User = ""
    port: _Port = 0
    protocol: _Protocol = ""
    client: _Client = ""
    target: _Target = ""

    @property
    def selection(self) -> Selection:
        """The same in the words of the ends. Raises ValueError if ``user`` is not an address."""
        host, port = parse_user(self.user) if self.user else ("", 0)
        return Selection(
            number=self.id,
            host=host,
            port=port,
            bind_port=self.port,
            protocol=self.protocol,
            client=self.client,
            target=self.target,
        )


class ConnectionsQuery(Choice, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The users to list."""

    after: Annotated[int, Meta(ge=0, le=MAX_ID, description="Only users with greater ids.")] = 0
    limit: Annotated[
        int,
        Meta(ge=0, le=MAX_PAGE, description="Maximum number of users in the answer, sorted by id; 0 means all."),
    ] = 0


class ConnectionList(Struct):
    """Users in flight."""

    now: float
    """Seconds since 1970, UTC."""
    config: str
    """The configuration file of the program."""
    closable: bool
    """True if this visitor may close users."""
    logins: tuple[Login, ...]
    """The accepted ways to log in; one is enough."""
    next: int
    """The id after which the next page begins; 0 if there is none."""
    connections: list[ConnectionStatus]


class Closed(Struct):
    """The outcome of closing users."""

    closed: int
    """The number of users who were reset."""


class EventsQuery(Struct, forbid_unknown_fields=True):
    """The events to send."""

    last_event_id: Annotated[
        str, Meta(max_length=60, description="Only events after this one, as with the header Last-Event-ID.")
    ] = ""


class HistoryQuery(Struct, forbid_unknown_fields=True):
    """The history to send."""

    series: Annotated[
        str, Meta(max_length=300, description="One of the series that the answer lists; empty: the whole program.")
    ] = ""


class Setting(Struct, frozen=True):
    """A key with its value."""

    name: str
    value: str
    """As in TOML; secrets are ``***``."""
    unit: str
    default: bool
    """True if this is the default."""


class Configuration(Struct, frozen=True):
    """The configuration in effect."""

    file: str
    settings: tuple[Setting, ...]


class Changes(Struct, frozen=True):
    """The difference between the configuration in force and another one."""

    keys: tuple[str, ...] = ()
    """Changed keys other than ``ports``."""
    restart: tuple[str, ...] = ()
    """Those that require a restart."""
    ports_added: tuple[str, ...] = ()
    ports_removed: tuple[str, ...] = ()
    ports_retargeted: tuple[str, ...] = ()


class Loaded(Struct, frozen=True):
    """The outcome of a reload."""

    loaded: bool
    """True if the file is in force now; otherwise the old configuration stays in force."""
    problems: tuple[str, ...] = ()
    """The mistakes in the file, one line each."""
    warnings: tuple[str, ...] = ()
    changes: Changes = Changes()
    """The changes of the reload."""


class CheckRequest(Struct, forbid_unknown_fields=True):
    """The configuration to check."""

    text: Annotated[str, Meta(description="The text of a configuration file; empty: the program's own file.")] = ""


class Checked(Struct, frozen=True):
    """The outcome of a check."""

    valid: bool
    problems: tuple[str, ...] = ()
    """The mistakes, one line each."""
    warnings: tuple[str, ...] = ()
    changes: Changes = Changes()
    """The changes that a reload with this configuration would make."""


class DrainRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The users to drain, or to admit again."""

    client: Annotated[str, Meta(max_length=64, description="Only the users of this client; empty: all users.")] = ""


class Drained(Struct, frozen=True):
    """The state of an end or of a client after ``drain`` or ``resume``."""

    draining: bool
    users: int
    """The number of users who are still present."""


class Reopened(Struct, frozen=True):
    """What ``reopen`` has reopened."""

    access_log: str
    """Where the lines about users go; empty: nowhere."""


class Problem(Struct, frozen=True):
    """The reason why a request failed."""

    error: str
