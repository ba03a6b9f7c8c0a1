"""Two stream sockets, joined: bytes move both ways until both directions have ended."""

import errno
import socket
from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

from backhaul.net.closing import release
from backhaul.net.poller import FAULT
from backhaul.net.tcp_info import unacknowledged

from . import half_close as rule
from .budget import ANYBODY
from .direction import Direction
from .outcome import ORDERLY, Done, Ending, Outcome, Progress
from .rest import read_rest
from .traffic import Traffic

if TYPE_CHECKING:
    from .resources import PairResources

_RESETS = frozenset({errno.ECONNRESET, errno.EPIPE})


class End(NamedTuple):
    """One end of a pair; the pair owns the socket from now on."""

    sock: socket.socket
    half_close: bool  # to the peer FIN ends one direction only; to v0.7.2 it ends both


class Pair:
    """Two joined sockets; owns both, and closes both once.

    ``near`` is the end towards the user, ``far`` the end towards the target.
    """

    __slots__ = ("_hold", "_table", "closed", "done", "latest", "owner", "relay", "state", "to_far", "to_near")

    def __init__(self, relay: "PairResources", near: End, far: End, traffic: Traffic, done: Done | None) -> None:
        self.relay = relay
        self.owner: Hashable = ANYBODY
        """The transport that carries it."""
        self.done = done
        self.closed = False
        self.to_far = Direction(self, rule.USER, near.sock, far.sock, traffic.received, hasty=not near.half_close)
        self.to_near = Direction(self, rule.TARGET, far.sock, near.sock, traffic.sent, hasty=not far.half_close)
        self.latest = self.to_far  # the direction in which bytes moved last
        self.state = rule.OPEN
        self._table = rule.NEAR_DOES_NOT
        if near.half_close:
            self._table = rule.BOTH_UNDERSTAND if far.half_close else rule.FAR_DOES_NOT
        self._hold = 0.0  # seconds of silence for which the end of the user is held back

    @property
    def moved(self) -> int:
        """The bytes moved so far, both ways together."""
        return self.to_far.moved + self.to_near.moved

    @property
    def undelivered(self) -> int:
        """The bytes that the kernel still sends, both ways together."""
        return unacknowledged(self.to_far.sink) + unacknowledged(self.to_near.sink)

    def progress(self) -> Progress:
        """Return the progress of the user."""
        return Progress(self.to_far.moved, self.to_near.moved, rule.PHASES[self.state.ended], "")

    def start(self, preface: bytes) -> None:
        """Begin both directions; ``preface`` goes to the far end first."""
        self.to_far.start(preface)
        if not self.closed:
            self.to_near.start(b"")

    def direction_ended(self, direction: Direction) -> None:
        """Pass on the end of a direction, hold it back, or close both sockets."""
        if self.closed:
            return
        event = rule.ENDED if direction.stalled else rule.OVER
        self.state, action = self._table[self.state, direction.side, event]
        if action is rule.CLOSE:
            self.close()
        elif action is not rule.NOTHING:
            self._pass_on(direction) if action is rule.TELL else self._hold_back(direction)
            if not self.closed:
                self.relay.watch(self)

    def told_at_once(self) -> bool:
        """Return whether the end of a direction may share a packet with its last bytes.

        It may not if the end would be a close while the other direction goes on. A close with unread bytes is a reset,
        and the kernel drops the bytes that it has not sent.
        """
        return self._table is rule.BOTH_UNDERSTAND or bool(self.state.over)

    def silent_for(self, seconds: float) -> None:
        """Reset both ends after a long silence; pass on a held-back end after a short one."""
        if seconds >= self.relay.patience.half_close:
            rule.log_silence(seconds)
            self.end(Ending.SILENT)
            return
        if seconds >= self._hold:
            self._tell_held()

    def fail(self, culprit: socket.socket, error: OSError) -> None:
        """Close both ends because a socket is broken; the other end gets what had arrived, and a reset as well."""
        back = self.to_far if culprit is self.to_far.source else self.to_near
        read_rest(culprit, back.readable, lambda: self.closed or back.stalled)
        if self.closed:
            return
        if error.errno not in _RESETS:
            self.end(Ending.LOST)
        else:
            self.end(Ending.RESET_BY_USER if culprit is self.to_far.source else Ending.RESET_BY_TARGET)

    def abort(self) -> None:
        """Close both sockets with a reset, because the program has failed."""
        self.end(Ending.FAILED)

    def close(self, *, reset: bool = False) -> None:
        """Close both sockets cleanly, or with a reset because the program stops."""
        self.end(Ending.SHUTDOWN if reset else rule.ENDING[self.state.ended])

    def end(self, ending: Ending) -> None:
        """Close both sockets and report the outcome; later calls do nothing."""
        if self.closed:
            return
        self.closed = True
        ended, poller = self.state.ended, self.relay.poller
        spoilt = () if ending in ORDERLY else rule.spoilt(ending, self.state)
        complete = rule.complete(ending, self.state)
        for way, back in ((self.to_far, self.to_near), (self.to_near, self.to_far)):
            release(
                poller,
                way.source,
                reset=back.side in spoilt,
                drained=way.side in ended,
                complete=back.side in complete,
            )
        self.to_far.release()
        self.to_near.release()
        outcome = Outcome(self.to_far.moved, self.to_near.moved, ending)
        del self.to_far, self.to_near, self.latest  # without reference cycles everything is freed at once
        self.relay.finished(self, self.done, outcome)

    def _hold_back(self, direction: Direction) -> None:
        answered = self.latest is self.to_near
        self._hold = self.relay.patience.before_end(sent=direction.moved, answered=answered)
        if not self._hold:
            self._tell_held()

    def _tell_held(self) -> None:
        self.state, action = self._table[self.state, rule.USER, rule.SILENT]
        if action is rule.TELL:
            self._pass_on(self.to_far)

    def _pass_on(self, direction: Direction) -> None:
        try:
            direction.sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.fail(direction.sink, error)


def join_sockets(
    relay: "PairResources",
    near: End,
    far: End,
    traffic: Traffic,
    *,
    preface: bytes = b"",
    sent_before: int = 0,
    done: Done | None = None,
    owner: Hashable = ANYBODY,
    kind: type[Pair] = Pair,
) -> Pair:
    """Join both ends; send ``preface`` to the far end first, and call ``done`` when both are closed.

    ``owner`` is the transport that carries them.
    ``sent_before`` is the number of the user's bytes that were read before; they are in ``preface`` or have left.
    """
    pair = kind(relay, near, far, traffic, done)
    pair.owner = owner
    pair.to_far.count(sent_before)
    relay.live.add(pair)
    try:
        pair.start(preface)
    except Exception as error:  # noqa: BLE001 - a half started pair must not go on
        pair.abort()
        relay.poller.faults.fault(FAULT, error)
    return pair
