"""The measurement of how long a NAT or firewall remembers an idle connection."""

import asyncio
from collections.abc import Sequence
from typing import Final

from .envelopes import Silence
from .exchange import Asker
from .finding import Finding, fault, ok, skipped
from .wording import span

SUBJECT: Final = "nat"
DELAYS: Final = (5.0, 10.0, 20.0, 40.0, 80.0, 120.0)
"""Seconds of silence that are tried, each on a connection of its own, all at a time."""
_KEPT: Final = 20.0  # seconds: this program probes idle connections after 15


async def examine(asker: Asker, token: str, delays: Sequence[float]) -> Finding:
    """Return the finding; this takes as long as the longest delay."""
    answers = await asyncio.gather(*(_survives(asker, token, delay) for delay in delays))
    lived = [delay for delay, answer in zip(delays, answers, strict=True) if answer]
    if not lived:
        return skipped(SUBJECT, "no connection was answered later", "the server may be too old for this, or busy")
    if len(lived) == len(delays):
        return ok(SUBJECT, f"an idle connection survives for {span(max(lived))}")
    lost = min(set(delays).difference(lived))
    longest = max((delay for delay in lived if delay < lost), default=0.0)
    text = f"an idle connection survives for {span(longest)}, and is lost within {span(lost)}"
    if longest >= _KEPT:
        return ok(SUBJECT, f"{text}; the tunnel probes its own after 15 s")
    seconds = max(1, int(longest / 2))
    remedy = f"set keepalive_period = {seconds} on both ends, and heartbeat = {seconds} on the server"
    return fault(SUBJECT, text, remedy)


async def _survives(asker: Asker, token: str, delay: float) -> bool:
    try:
        answer = await asker.ask(token, delay + asker.waits.answer, delay=delay)
    except OSError:  # TimeoutError is one
        return False
    return not isinstance(answer, Silence)
