"""Two stream sockets joined: bytes move both ways until both directions have ended."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from typing import NamedTuple, Protocol

from backhaul.net.log_throttle import LogThrottle
from backhaul.net.pipes import PipePool
from backhaul.net.poller import FAULT, Poller, release

from .budget import DEFAULT_LIMIT, Budget
from .direction import Direction, Meter
from .flows import FlowTable
from .outcome import Done, Ending, Outcome
from .patience import Patience
from .pings import Pings

log = logging.getLogger("backhaul.tunnel")

_RESETS = frozenset({errno.ECONNRESET, errno.EPIPE})


class Traffic(NamedTuple):
    """The meters of one port: from the user, and to the user."""

    received: Meter
    sent: Meter


class End(NamedTuple):
    """One end of a pair; the pair owns the socket from now on."""

    sock: socket.socket
    half_close: bool  # whether the peer takes FIN as the end of one direction only; v0.7.2 does not


class Session(Protocol):
    """A connection with streams on it, as far as the end of the process is concerned."""

    def __len__(self) -> int:
        """Return the number of streams."""

    def end(self, why: str) -> None:
        """Close the connection, and lose the streams on it."""


class Joined(Protocol):
    """Two ends that belong together, in whatever way the bytes move between them."""

    @property
    def moved(self) -> int:
        """A number that rises with every byte that moves, either way."""

    def silent_for(self, seconds: float) -> None:
        """Nothing has moved for so long although one direction has ended."""

    def close(self, *, reset: bool = False) -> None:
        """Close both ends, exactly once."""


class Relay:
    """Makes pairs and knows those that live. One per process and side."""

    def __init__(
        self,
        poller: Poller,
        *,
        splicing: bool | None = None,
        flows: FlowTable | None = None,
        patience: Patience | None = None,
        backlog_limit: int = DEFAULT_LIMIT,
    ) -> None:
        """`backlog_limit`: bytes that may wait for peers that do not take them, in all connections together."""
        self.loop = asyncio.get_running_loop()
        self.poller = poller
        self.pipes = PipePool()
        self.complaints = LogThrottle(log)  # about what peers do wrong
        self.budget = Budget(backlog_limit, self.complaints)
        self.splicing = splice_available() if splicing is None else splicing
        self.live: set[Joined] = set()
        self.links: set[Session] = set()
        self.flows = FlowTable() if flows is None else flows
        self.patience = patience or Patience()
        self.pings = Pings(lambda: self.patience.quiet, poller.faults)
        self._watched: dict[Joined, tuple[int, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event | None = None

    def join(
        self,
        near: End,
        far: End,
        traffic: Traffic,
        *,
        preface: bytes = b"",
        said: int = 0,
        done: Done | None = None,
    ) -> "Pair":
        """Join both ends; `preface` goes to the far end first; `done` is called when both are closed.

        `said`: bytes of the user that were read before, whether they are in `preface` or have left already.
        """
        pair = Pair(self, near, far, traffic, done)
        pair.to_far.count(said)
        self.live.add(pair)
        try:
            pair.start(preface)
        except Exception as error:  # noqa: BLE001 - it must not live on half started
            pair.reset()
            self.poller.faults.fault(FAULT, error)
        return pair

    def finished(self, pair: "Joined", done: Done | None, outcome: Outcome) -> None:
        """Drop a pair that has closed, and call `done`, whose failure is none of the pair."""
        self.forget(pair)
        try:
            if done:
                done(outcome)
        except Exception as error:  # noqa: BLE001 - it is called in the midst of anything
            self.poller.faults.fault("internal error in the bookkeeping of a user; connections go on", error)

    def forget(self, pair: "Joined") -> None:
        """Drop a pair that has closed."""
        self.live.discard(pair)
        self._watched.pop(pair, None)
        if not self.live and self._drained:
            self._drained.set()

    async def drained(self, patience: float) -> None:
        """Return when no pair lives any more, after `patience` seconds at the latest."""
        self._drained = asyncio.Event()
        if self.live:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._drained.wait()

    def close(self) -> None:
        """Reset whatever still lives, and give back the pipes."""
        for pair in list(self.live):
            pair.close(reset=True)
        for link in list(self.links):
            link.end("this end is shutting down")
        self.flows.close()
        self.pipes.close()
        self.pings.close()
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def watch(self, pair: "Joined") -> None:
        """Look after a half-closed pair from now on: silence ends it."""
        self._watched[pair] = (pair.moved, self.loop.time())
        if self._timer is None:
            self._timer = self.loop.call_later(self.patience.sweep, self._sweep)

    def _sweep(self) -> None:
        self._timer = self.loop.call_later(self.patience.sweep, self._sweep)
        for pair in list(self._watched):
            try:
                self._look_at(pair)
            except Exception as error:  # noqa: BLE001 - the others are looked after all the same
                pair.close(reset=True)
                self.poller.faults.fault(FAULT, error)
        if not self._watched:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, pair: "Joined") -> None:
        moved, since = self._watched[pair]
        now = self.loop.time()
        if pair.moved != moved:
            self._watched[pair] = (pair.moved, now)
        else:
            pair.silent_for(now - since)


class Pair:
    """Two sockets that belong together; owns both and closes both, exactly once.

    `near` is the end towards the user, `far` the end towards the target.
    """

    __slots__ = ("_done", "_far", "_first", "_hold", "_near", "closed", "latest", "relay", "to_far", "to_near")

    def __init__(self, relay: Relay, near: End, far: End, traffic: Traffic, done: Done | None) -> None:
        self.relay = relay
        self._near = near
        self._far = far
        self._done = done
        self.closed = False
        self.to_far = Direction(self, near.sock, far.sock, traffic.received, hasty=not near.half_close)
        self.to_near = Direction(self, far.sock, near.sock, traffic.sent, hasty=not far.half_close)
        self.latest = self.to_far  # the direction in which bytes moved last
        self._first = Ending.USER  # who has ended first
        self._hold = relay.patience.hold_back  # seconds

    @property
    def moved(self) -> int:
        """Bytes moved so far, both ways together."""
        return self.to_far.moved + self.to_near.moved

    def start(self, preface: bytes) -> None:
        """Begin both directions; `preface` goes to the far end first."""
        self.to_far.start(preface)
        if not self.closed:
            self.to_near.start(b"")

    def direction_ended(self, direction: Direction) -> None:
        """The source of `direction` is done and all its bytes have been handed on (or wait for the sink)."""
        if self.closed:
            return
        if not self.to_far.ended:
            self._first = Ending.TARGET
        if direction.stalled:
            return
        if self._other_is_done(direction) or not self._source_end(direction).half_close:
            self.close()
            return
        if self._sink_end(direction).half_close:
            self._pass_on(direction)
        elif direction is self.to_near:  # the target is done, and the answer with it
            self.close()
            return
        else:
            self._hold_back(direction)
        if not self.closed:
            self.relay.watch(self)

    def told_at_once(self, direction: Direction) -> bool:
        """Return whether the end of `direction` goes on as soon as it comes, and takes no byte with it that waits.

        A close does when it meets unread bytes: it is a reset then, and the kernel throws away what it has not sent.
        """
        both_understand = self._source_end(direction).half_close and self._sink_end(direction).half_close
        return both_understand or self._other_is_done(direction)

    def silent_for(self, seconds: float) -> None:
        """Nothing has moved for so long on this half-closed pair."""
        if seconds >= self.relay.patience.half_close:
            log.debug("reset a half-closed connection after %.0f s of silence", seconds)
            self.end(Ending.SILENT)
            return
        if seconds >= self._hold:
            for direction in (self.to_far, self.to_near):
                if direction.ended and not direction.stalled and not self.closed:
                    self._pass_on(direction)

    def fail(self, culprit: socket.socket, error: OSError) -> None:
        """A socket is broken: the first error is terminal, and the other end sees a reset as well."""
        if error.errno not in _RESETS:
            self.end(Ending.LOST)
        else:
            self.end(Ending.RESET_BY_USER if culprit is self._near.sock else Ending.RESET_BY_TARGET)

    def reset(self) -> None:
        """Close both sockets with a reset, because the program has failed."""
        self.end(Ending.FAILED)

    def close(self, *, reset: bool = False) -> None:
        """Close both sockets in order, or with a reset because the program stops."""
        self.end(Ending.SHUTDOWN if reset else self._first)

    def end(self, ending: Ending) -> None:
        """Close both sockets and tell whoever waits for it; later calls do nothing."""
        if self.closed:
            return
        self.closed = True
        reset = not ending.orderly
        release(self.relay.poller, self._near.sock, reset=reset, drained=self.to_far.ended)
        release(self.relay.poller, self._far.sock, reset=reset, drained=self.to_near.ended)
        self.to_far.release()
        self.to_near.release()
        outcome = Outcome(self.to_far.moved, self.to_near.moved, ending)
        del self.to_far, self.to_near, self.latest  # without circles all this is freed at once
        self.relay.finished(self, self._done, outcome)

    def _hold_back(self, direction: Direction) -> None:
        answered = self.latest is self.to_near
        self._hold = self.relay.patience.before_end(said=direction.moved, answered=answered)
        if not self._hold:
            self._pass_on(direction)

    def _pass_on(self, direction: Direction) -> None:
        if direction.passed_on:
            return
        direction.passed_on = True
        try:
            direction.sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.fail(direction.sink, error)

    def _other_is_done(self, direction: Direction) -> bool:
        other = self.to_near if direction is self.to_far else self.to_far
        return other.ended and not other.stalled

    def _source_end(self, direction: Direction) -> End:
        return self._near if direction is self.to_far else self._far

    def _sink_end(self, direction: Direction) -> End:
        return self._far if direction is self.to_far else self._near


def splice_available() -> bool:
    """Whether this system has splice and the administrator did not switch it off."""
    return hasattr(os, "splice") and not os.environ.get("BACKHAUL_NO_SPLICE")
