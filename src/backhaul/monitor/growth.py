"""The ports of one look at the program, found again at the next one."""

from collections.abc import Iterable
from typing import NamedTuple

from backhaul.kept_ports import Place, kept

from .status import PortStatus, Status


class _Spot(NamedTuple):
    """What stays of a port that gets another target or protocol."""

    owner: tuple[str, str]
    bind: str
    port: int
    target: str
    """Of the client, which has no ports of its own; otherwise empty."""


class Grown(NamedTuple):
    """A port at two looks."""

    before: PortStatus | None
    """None if it is new."""
    now: PortStatus


def grown(before: Iterable[PortStatus], status: Status) -> list[Grown]:
    """Return each port of a status with its former self, whose counters it continues as in a reload."""
    places = [_place(port, status.side) for port in status.ports]
    former = {_place(port, status.side): port for port in before}
    staying = kept(former, dict.fromkeys(places))
    pairs = zip(places, status.ports, strict=True)
    return [Grown(former[staying[place]] if place in staying else None, port) for place, port in pairs]


def _place(port: PortStatus, side: str) -> Place:
    target = port.target if side == "client" else ""
    return Place(_Spot((port.group, port.client), port.bind, port.port, target), port.protocol)
