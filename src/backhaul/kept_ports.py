"""The ports that stay while others come and go, in a reload and in what is counted across it."""

from collections.abc import Collection, Hashable
from typing import NamedTuple


class Place(NamedTuple):
    """Where a port listens; no two ports have the same."""

    spot: Hashable
    protocol: str
    """The one that its entry names, or none."""


def kept(before: Collection[Place], after: Collection[Place]) -> dict[Place, Place]:
    """Return the former place of each port that stays, by its present one.

    A port whose protocol changes stays, unless its spot has one for each. TCP comes first, whose users can stay.
    """
    found = {place: place for place in after if place in before}
    gone = sorted((place for place in before if place not in found), key=_protocol, reverse=True)
    freed = {place.spot: place for place in gone}
    come = sorted((place for place in after if place not in found), key=_protocol)
    return found | {place: freed.pop(place.spot) for place in come if place.spot in freed}


def _protocol(place: Place) -> str:
    return place.protocol
