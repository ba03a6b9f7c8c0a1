"""The settings that were found in a file of another program, in the words of this one."""

from dataclasses import dataclass, field
from typing import Final

from backhaul.errors import BackhaulError

NOTHING: Final = "nothing to do"
"""The remedy for a setting that this program does without."""
OWN_MACHINE: Final = frozenset({"", "127.0.0.1", "localhost", "::1"})
"""Hosts of a target that stand for the client's machine."""
EVERYWHERE: Final = frozenset({"", "*", "0.0.0.0", "::"})
"""Hosts on which a listener has all interfaces."""

Settings = dict[str, object]


class ConvertError(BackhaulError):
    """A file that cannot be converted; the text names the file and the remedy, and holds no value of it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A setting without a counterpart."""

    key: str
    """The file, and the name in it."""
    reason: str
    remedy: str = NOTHING

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A port with its target; ``listen`` and ``target`` are halves of an entry of ``ports``, empty if unknown."""

    listen: str = ""
    target: str = ""
    name: str
    key: str
    """The file, and the name in it."""
    streams: bool = True
    """True if it serves TCP."""
    datagrams: bool = False
    """True if it serves UDP."""
    proxy_protocol: str = ""
    rate: int = 0
    """Bits a second, each way; 0: no limit."""
    clients: tuple[str, ...] = ()
    """The clients that serve it, where there are several."""
    group: str = ""
    """The group in which several clients may serve it."""
    checks: tuple[tuple[str, str | int], ...] = ()
    """Keys of such a group about the health of its clients."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """The settings of a file: those of both ends, and those of each."""

    name: str = ""
    """A name for the client, where there are several."""
    tokens: list[str] = field(default_factory=list)
    """The first one is that of the whole file."""
    both: Settings = field(default_factory=dict)
    server: Settings = field(default_factory=dict)
    client: Settings = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    users_host: str = ""
    """The host on which services without a host listen; empty: all interfaces."""
    gaps: list[Gap] = field(default_factory=list)


def address(host: str, port: object) -> str:
    """Join a host and a port; an IPv6 address gets brackets."""
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def target(host: str, port: object) -> str:
    """Return the target of an entry of ``ports``."""
    return str(port) if host.strip("[]") in OWN_MACHINE else address(host, port)


def listener(host: str, port: object) -> str:
    """Return the listening side of an entry of ``ports``."""
    return str(port) if host.strip("[]") in EVERYWHERE else address(host, port)
