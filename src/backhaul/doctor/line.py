"""The figures of the line to the server: round trip, jitter and loss."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from backhaul.net.tcp_info import TcpInfo

from .channel import Pace
from .exchange import Asker
from .finding import Finding, ok, warning
from .reach import Arrival
from .wording import count, milliseconds

SUBJECT: Final = "line"
ROUNDS: Final = 5
"""Connections that measure the round trip: the kernel of the server answers them."""
SAMPLES: Final = 8
"""Connections that measure the loss, all at a time."""
PACKETS: Final = 64
"""The packets of each of them: 512 packets tell a loss of 2 % from one of 0.3 %."""
_LONGEST: Final = 0.06  # seconds between two packets: a server waits for 10 s for a message
_IN_FLIGHT: Final = 8  # packets, fewer than the kernel sends before the first acknowledgement
_LOSSY: Final = 0.01  # part of the segments: TCP without BBR is slow from here on
_FOUND: Final = "the line loses packets: `mtr` shows where; "
_OF_TCP: Final = _FOUND + "congestion control bbr on both ends suffers least"
_OF_UDP: Final = _FOUND + "udp_copies = 2 and encryption = true on both ends make up for single ones"


async def sample(asker: Asker, token: str, round_trip: float) -> list[TcpInfo]:
    """Return the kernel's figures of connections with many small packets."""
    pace = Pace(PACKETS, min(max(round_trip / _IN_FLIGHT, asker.waits.packet), _LONGEST))
    within = pace.packets * pace.pause + asker.waits.answer
    results = await asyncio.gather(*(asker.sample(token, pace, within) for _ in range(SAMPLES)), return_exceptions=True)
    return [result for result in results if isinstance(result, TcpInfo)]


def summarise(arrivals: Sequence[Arrival], connections: Sequence[TcpInfo], *, datagrams: bool = False) -> Finding:
    """Return the finding about connects in turn, and the kernel's figures of all connections."""
    arrived = [arrival for arrival in arrivals if not arrival.error]
    figures = [*connections, *(arrival.tcp for arrival in arrived)] if any(one.sent for one in connections) else []
    sent, resent = sum(one.sent for one in figures), sum(max(0, one.resent - one.needless) for one in figures)
    failed = len(arrivals) - len(arrived)
    text = f"{_times([arrival.seconds for arrival in arrived if not arrival.tcp.resent])}, {_loss(sent, resent)}"
    if failed:
        text += f", {count(failed, 'connection')} of {len(arrivals)} failed"
    if failed or (sent and resent / sent > _LOSSY):
        return warning(SUBJECT, text, _OF_UDP if datagrams else _OF_TCP)
    return ok(SUBJECT, text)


def _times(trips: Sequence[float]) -> str:
    if not trips:
        return "round trip unknown"
    jitter = sum(abs(one - other) for one, other in pairwise(trips)) / max(1, len(trips) - 1)
    return f"round trip {milliseconds(min(trips))}, jitter {milliseconds(jitter)}"


def _loss(sent: int, resent: int) -> str:
    return f"{resent} of {sent} packets sent again" if sent else "loss unknown"
