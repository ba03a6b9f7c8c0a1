"""The circumstances of a diagnosis, which tests replace: waits, clock, names, and the running programs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from backhaul.addresses import address_text
from backhaul.net.resolver import LookUp, look_up
from backhaul.net.services import ServiceLookUp, look_up_service
from backhaul.transports.auth import ForgetfulMemory, KnownServers
from backhaul.wire.targets import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Waits:
    """The longest waits in seconds."""

    name: float = 5.0
    """For a name server."""
    connect: float = 5.0
    """For TCP, and again for TLS."""
    answer: float = 5.0
    """For the server's answer to a small message."""
    segment: float = 1.2
    """For the answer to a large message, beside four times that of a small one. A lost packet is sent again after 0.2
    and 0.6 s. After 1.4 s a kernel with tcp_mtu_probing tries smaller ones, and the fault would not show itself."""
    packet: float = 0.02
    """Between two packets of a connection that measures loss, at least."""
    target: float = 3.0
    """For a connection to a target."""
    transfer: float = 2.0
    """For the measurement of throughput, each way."""
    check: float = 60.0
    """For one check as a whole."""


DEFAULT_WAITS = Waits()


class Spare(NamedTuple):
    """A port of the server, and its target on this machine, on which nothing listens."""

    port: int
    target: Target

    def __str__(self) -> str:
        return f"port {self.port} to target {address_text(*self.target)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """The circumstances of one diagnosis."""

    file: str
    """The configuration file."""
    programs: tuple[dict[str, Any], ...] = ()
    """The status of each program that runs this file."""
    problems: tuple[str, ...] = ()
    """A line for each program of this file that did not answer properly."""
    foreign: tuple[Path, ...] = ()
    """The status sockets of other users that have the name of this file."""
    known: KnownServers = field(default_factory=ForgetfulMemory)
    names: LookUp = look_up
    services: ServiceLookUp = look_up_service
    now: Callable[[], float] = time.time
    waits: Waits = DEFAULT_WAITS
    proc: Path = Path("/proc")
    silences: tuple[float, ...] = ()
    """Seconds of silence for which connections to the server are kept, to find out when a NAT forgets them."""
    spares: tuple[Spare, ...] = ()
    """Ports of the server through which throughput is measured."""
    state: Path = Path("/var/lib/backhaul")
    """The directory for what must survive a restart."""

    @property
    def limit(self) -> float:
        """The longest time in seconds for one check."""
        return self.waits.check + max(self.silences, default=0.0)

    @property
    def connected(self) -> bool:
        """True if a running program is connected to the other end."""
        return any(program.get("connected") is True for program in self.programs)
