"""The check whether large packets reach the server and come back, and the search for the largest that do."""

import asyncio
from typing import Final

from backhaul.security.hello import PROBE_PADDING

from .envelopes import Silence
from .exchange import Answered, Asker
from .finding import Finding, fault, ok, skipped

SUBJECT: Final = "packets"
_TRIES: Final = 3  # on a line that loses packets of all sizes one of them passes in time
# The payload of the usual lines: Ethernet, PPPoE, and tunnels down to the least that IPv6 and IPv4 require.
SIZES: Final = (1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300, 1280, 1260, 1240, 1220, 1180, 1100, 1000, 800, 536)


class Search:
    """The search for the largest packets that a server answers, which has answered a small probe before."""

    def __init__(self, asker: Asker, token: str, before: Answered) -> None:
        self._asker = asker
        self._token = token
        self._within = asker.waits.segment + 4 * before.seconds

    async def examine(self) -> tuple[Finding, list[Answered]]:
        """Return the finding, and the answers for the figures of their connections."""
        wholes = await asyncio.gather(*(self._ask(PROBE_PADDING, 0) for _ in range(_TRIES)))
        if passed := [answer for answer in wholes if answer]:
            return ok(SUBJECT, _passed(passed[0])), passed
        tried = zip(SIZES, await asyncio.gather(*(self._ask(PROBE_PADDING, size) for size in SIZES)), strict=True)
        answers = {size: answer for size, answer in tried if answer}
        if not answers:
            return await self._without_any(), []
        best = max(answers)
        largest = answers[best].tcp.mss or best
        text = f"packets with more than {largest} bytes of payload are lost, and their sender learns nothing of it"
        remedy = f"set mss = {best} on both ends, or let ICMP pass the firewalls in between"
        return fault(SUBJECT, text, remedy), list(answers.values())

    async def _without_any(self) -> Finding:
        if not await self._ask(0, 0):
            return skipped(SUBJECT, "the server no longer answers", "run the command again")
        text = "large messages are lost, whatever the size of their packets"
        return fault(SUBJECT, text, "something in between limits messages: a proxy, or a firewall")

    async def _ask(self, padding: int, mss: int) -> Answered | None:
        try:
            answer = await self._asker.ask(self._token, self._within, padding=padding, mss=mss)
        except OSError:  # TimeoutError is one
            return None
        return None if isinstance(answer, Silence) else answer


def _passed(answer: Answered) -> str:
    largest = min(answer.tcp.mss, PROBE_PADDING)
    return f"packets with {largest} bytes of payload pass in both directions" if largest else "large messages pass"
