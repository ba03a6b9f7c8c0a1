"""Two stream sockets joined: bytes move both ways until both directions have ended."""

import errno
import logging
import socket
from typing import NamedTuple

from backhaul.net.poller import FAULT, release

from .direction import Direction
from .engine import Relay
from .outcome import Done, Ending, Outcome
from .traffic import Traffic

log = logging.getLogger("backhaul.tunnel")

_RESETS = frozenset({errno.ECONNRESET, errno.EPIPE})


class End(NamedTuple):
    """One end of a pair; the pair owns the socket from now on."""

    sock: socket.socket
    half_close: bool  # whether the peer takes FIN as the end of one direction only; v0.7.2 does not


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


def join_sockets(
    relay: Relay,
    near: End,
    far: End,
    traffic: Traffic,
    *,
    preface: bytes = b"",
    said: int = 0,
    done: Done | None = None,
) -> Pair:
    """Join both ends; send `preface` to the far end first, and call `done` when both are closed.

    `said`: bytes of the user that were read before, whether they are in `preface` or have left already.
    """
    pair = Pair(relay, near, far, traffic, done)
    pair.to_far.count(said)
    relay.live.add(pair)
    try:
        pair.start(preface)
    except Exception as error:  # noqa: BLE001 - it must not live on half started
        pair.reset()
        relay.poller.faults.fault(FAULT, error)
    return pair
