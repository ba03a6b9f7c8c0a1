"""The figures of the line to the server: round trip, jitter and loss."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from backhaul.net.tcp_info import TcpInfo

from .finding import Finding, ok, warning
from .reach import Arrival
from .wording import count, milliseconds

SUBJECT: Final = "line"
ROUNDS: Final = 5
"""Connections that measure the round trip: the kernel of the server answers them."""
_REMEDY: Final = "the line loses packets: `mtr` shows where; BBR on both ends suffers least, and udp with udp_copies"
_LOSSY: Final = 0.02  # part of the segments: TCP without BBR is slow from here on


def summarise(arrivals: Sequence[Arrival], connections: Sequence[TcpInfo]) -> Finding:
    """Return the finding about connects in turn, and the kernel's figures of all connections."""
    trips = [arrival.seconds for arrival in arrivals if not arrival.error]
    sent, resent = sum(one.sent for one in connections), sum(one.resent for one in connections)
    lost = len(arrivals) - len(trips)
    text = f"{_times(trips)}, {_loss(sent, resent)}"
    if lost:
        text += f", {count(lost, 'connection')} of {len(arrivals)} failed"
    if lost or (sent and resent / sent > _LOSSY):
        return warning(SUBJECT, text, _REMEDY)
    return ok(SUBJECT, text)


def _times(trips: Sequence[float]) -> str:
    if not trips:
        return "round trip unknown"
    jitter = sum(abs(one - other) for one, other in pairwise(trips)) / max(1, len(trips) - 1)
    return f"round trip {milliseconds(min(trips))}, jitter {milliseconds(jitter)}"


def _loss(sent: int, resent: int) -> str:
    return f"{resent} of {sent} packets sent again" if sent else "loss unknown"
