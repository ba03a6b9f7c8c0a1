"""The settings that were found in a file of another program, in the words of this one."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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
    datagrams: bool = False
    proxy_protocol: str = ""
    rate: int = 0
    """Bits a second, each way; 0: no limit."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """The settings of a file: those of both ends, and those of each."""

    both: Settings = field(default_factory=dict)
    server: Settings = field(default_factory=dict)
    client: Settings = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    users_host: str = ""
    """Where services listen that name no host; empty: on all interfaces."""
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


def merge(drafts: Iterable[Draft]) -> Draft:
    """Join the files of both ends: a server's file knows its own keys best, a client's those of the tunnel."""
    whole = Draft()
    for one in sorted(drafts, key=lambda draft: bool(draft.client), reverse=True):  # clients first
        _check_tokens(whole.both, one.both)
        whole.both = one.both | whole.both
        whole.client = one.client | whole.client
        whole.server = whole.server | one.server
        whole.users_host = whole.users_host or one.users_host
        whole.gaps += one.gaps
        for name, service in one.services.items():
            whole.services[name] = _joined(whole.services.get(name), service)
    return whole


def _check_tokens(one: Settings, other: Settings) -> None:
    if len({settings["token"] for settings in (one, other) if "token" in settings}) > 1:
        raise ConvertError("the files have different tokens; convert the two files of one tunnel")


def _joined(one: Service | None, other: Service) -> Service:
    if one is None:
        return other
    listen, aim = one.listen or other.listen, one.target or other.target
    return replace(one, listen=listen, target=aim, datagrams=one.datagrams or other.datagrams)
