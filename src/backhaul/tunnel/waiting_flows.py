"""Flows waiting for a carrier, each source in turn."""

import asyncio
from collections.abc import Callable, Hashable

from backhaul.net.deadlines import Deadlines
from backhaul.relay.flows import Flow
from backhaul.relay.shares import Shares

from .wait_limit import WaitLimit


class WaitingFlows:
    """At most ``limit`` waiting flows; at the limit the source with the most gives up a place to one with fewer.

    Flows wait as long as ``wait`` says, or up to its usual time longer.
    """

    def __init__(self, limit: int, wait: WaitLimit, give_up: Callable[[Flow], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.limit = limit
        self._wait = wait
        self._deadlines: Deadlines[Flow] = Deadlines(wait.usual, self._expire)
        self._shares: Shares[Flow] = Shares()
        self._give_up = give_up

    def __len__(self) -> int:
        return len(self._deadlines)

    def admits(self, source: Hashable) -> bool:
        """Return whether another flow of this source may wait; may close one of the source with the most flows."""
        if len(self) < self.limit:
            return True
        if self._shares.most <= self._shares.count(source) + 1:
            return False
        self._shares.oldest_of_most().close()
        return True

    def add(self, flow: Flow) -> None:
        """Let the flow wait until its time limit."""
        self._deadlines.add(flow)
        self._shares.add(flow)

    def discard(self, flow: Flow) -> None:
        """Remove a flow; harmless if it does not wait."""
        self._deadlines.discard(flow)
        self._shares.discard(flow)

    def next(self) -> Flow:
        """Return the oldest flow of the source whose turn it is; call only while one waits."""
        return self._shares.next()

    def served(self, flow: Flow) -> None:
        """Remove a flow that has got a carrier, and pass the turn to the other sources."""
        self.discard(flow)
        self._wait.carried()
        self._shares.pass_turn(flow.source)

    def _expire(self, flow: Flow) -> None:
        if self._wait.until(flow.since) > self._loop.time():
            self._deadlines.add(flow)
            return
        self._shares.discard(flow)
        self._give_up(flow)
