"""The ports of one look at the program, found again at the next one."""

from collections.abc import Iterable
from typing import NamedTuple

from .status import PortStatus, Status


class _Spot(NamedTuple):
    """What stays of a port that gets another target or protocol."""

    owner: tuple[str, str]
    bind: str
    port: int
    target: str
    """Of the client, which has no ports of its own; otherwise empty."""


_Place = tuple[_Spot, str]


class Grown(NamedTuple):
    """A port at two looks."""

    before: PortStatus | None
    """None if it is new."""
    now: PortStatus


def grown(before: Iterable[PortStatus], status: Status) -> list[Grown]:
    """Return each port of a status with its former self, whose counters it continues.

    Ports stay as in a reload: with another target, and with another protocol unless the address has one for each.
    """
    places = [_place(port, status.side) for port in status.ports]
    left = {_place(port, status.side): port for port in before}
    found = {place: left.pop(place) for place in places if place in left}
    freed = {place[0]: left[place] for place in sorted(left, key=_protocol, reverse=True)}
    for place in sorted(places, key=_protocol):
        if place not in found and place[0] in freed:
            found[place] = freed.pop(place[0])
    return [Grown(found.get(place), port) for place, port in zip(places, status.ports, strict=True)]


def _place(port: PortStatus, side: str) -> _Place:
    target = port.target if side == "client" else ""
    return _Spot((port.group, port.client), port.bind, port.port, target), port.protocol


def _protocol(place: _Place) -> str:
    return place[1]
