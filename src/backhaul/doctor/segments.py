"""The check whether large packets reach the server and come back, and the search for the largest that do."""

import asyncio
from typing import Final

from backhaul.security.hello import PROBE_PADDING

from .envelopes import Silence
from .exchange import Answered, Asker
from .finding import Finding, fault, ok, skipped

SUBJECT: Final = "packets"
# The payload of the usual lines: Ethernet, PPPoE, and tunnels down to the least that IPv6 and IPv4 require.
SIZES: Final = (1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300, 1280, 1260, 1240, 1220, 1180, 1100, 1000, 800, 536)


async def examine(asker: Asker, token: str) -> tuple[Finding, tuple[Answered, ...]]:
    """Return the finding, and the answers for the figures of their connections."""
    whole = await _passes(asker, token, 0)
    if whole:
        return ok(SUBJECT, _passed(whole)), (whole,)
    tried = zip(SIZES, await asyncio.gather(*(_passes(asker, token, size) for size in SIZES)), strict=True)
    answers = {size: answer for size, answer in tried if answer}
    if not answers:
        if not await _passes(asker, token, 0, padding=0):
            return skipped(SUBJECT, "the server no longer answers", "run the command again"), ()
        text = "large messages get lost, whatever their packets"
        return fault(SUBJECT, text, "something in between limits messages: a proxy, or a firewall"), ()
    best = max(answers)
    text = f"packets with more than {answers[best].tcp.mss} bytes of payload get lost, and nothing tells their sender"
    remedy = f"set mss = {best} on both ends, or let ICMP pass the firewalls in between"
    return fault(SUBJECT, text, remedy), tuple(answers.values())


async def _passes(asker: Asker, token: str, mss: int, padding: int = PROBE_PADDING) -> Answered | None:
    try:
        answer = await asker.ask(token, padding=padding, mss=mss)
    except OSError:  # TimeoutError is one
        return None
    return None if isinstance(answer, Silence) else answer


def _passed(answer: Answered) -> str:
    largest = min(answer.tcp.mss, PROBE_PADDING)
    return f"packets with {largest} bytes of payload pass in both directions" if largest else "large messages pass"
