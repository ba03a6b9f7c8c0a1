"""The client's watch over its sessions: which of them need another connection although they have one."""

import random
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final

from backhaul.mux.resumable_link import ResumableLink
from backhaul.net.predicates import has_input
from backhaul.net.tcp_info import TcpInfo

from .freezes import Freezes

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from .resources import WatchResources

_ROUND_TRIPS: Final = 4
_HANDSHAKES: Final = 8  # round trips, of which TCP, TLS, WebSocket and both hellos take five
_LONGEST: Final = 32  # times the first patience: a session that is not read acknowledges nothing on any connection
_SLOWEST: Final = 5.0  # seconds that an acknowledgement may count for: it may have waited for the end of an outage
_SLOW: Final = 2  # times the slowest acknowledgement of late: for busy ends, which another connection makes busier
_FADES: Final = 0.9  # share of the slowest acknowledgement that counts a second later
# Seconds between two looks while connections freeze, of which each may carry ten packets. With nothing to carry that
# would cost a client 1 % of a CPU, and 33 % with 1 000 sessions.
_SOON: Final = 0.02
_IDLE: Final = 0.1
_ACTIVE: Final = 2.0  # seconds for which a line is not idle after bytes have moved
_HUSH: Final = 0.3  # seconds of silence until a connection is replaced that has carried half of what others have
# Seconds until an acknowledgement counts as late, where the last connection froze after as many bytes: users wait for
# each of the three that it takes to be sure, and a mistake costs one more connection.
_DOUBT: Final = 0.5
_JITTER: Final = 0.2  # either way, so that connections of the same age are not replaced together


class Cause(Enum):
    """The reason for another connection, as a clause."""

    LOST = "the last one was lost"
    SILENT = "the last one was silent"
    ROTATION = "the last one was old"


Want = Callable[[ResumableLink, Cause], None]


class Watch:
    """Looks at all sessions now and then, as long as there are any."""

    def __init__(self, relay: "WatchResources", want: Want) -> None:
        self._relay = relay
        self._want = want
        self._freezes = Freezes(relay.complaints, relay.loop.time)
        self._looks: dict[ResumableLink, _Look] = {}
        self._slowest = 0.0  # seconds until an acknowledgement, of late
        self._faded_at = relay.loop.time()
        self._carried = 0  # by the present connections together
        self._moved_at = -_ACTIVE
        self._timer: TimerHandle | None = None

    @property
    def rotates_often(self) -> bool:
        """True while connections are replaced because they would freeze."""
        return self._freezes.known

    def add(self, link: ResumableLink) -> None:
        """Look at this session, too, from now on."""
        self._looks[link] = _Look(link, self._relay.loop.time(), 1)
        if self._timer is None:
            self._begin()

    def look(self) -> None:
        """Look at once, because the server is connected again.

        If its former control channel was silent, too, the line was, and no connection froze.
        """
        self._freezes.forget_all()
        if self._timer:
            self._timer.cancel()
            self._sweep()

    def replaced(self, link: ResumableLink, cause: Cause, carried: Sequence[int], seconds: float) -> None:
        """Learn from a connection that another one has replaced, which took some seconds.

        After an outage that takes longer than on a line on which single connections freeze.
        """
        if link not in self._looks:
            return
        if cause is not Cause.SILENT:
            self._freezes.lasted(link, carried)
        elif seconds > max(self._relay.patience.unacknowledged, _HANDSHAKES * TcpInfo.of(link.conn).round_trip):
            self._freezes.forget(link)
        elif self._freezes.froze(link, carried):
            self._looks[link].impatient = False

    def _begin(self) -> None:
        self._timer = self._relay.loop.call_later(self._pause(), self._sweep)

    def _pause(self) -> float:
        """Return the seconds until the next look."""
        look = self._relay.patience.look
        if not self._freezes.suspected:
            return look
        if not self._freezes.known:  # then only silences count, which are longer
            return min(look, _IDLE)
        carried, now = sum(sum(link.carried) for link in self._looks), self._relay.loop.time()
        if carried != self._carried:
            self._carried, self._moved_at = carried, now
        return min(look, _SOON if now - self._moved_at < _ACTIVE else _IDLE)

    def _sweep(self) -> None:
        self._timer = None
        self._fade()
        for link, look in list(self._looks.items()):
            if link.closed:
                del self._looks[link]
                self._freezes.forget(link)
            else:
                self._looks[link] = self._look_at(link, look)
        if self._looks:
            self._begin()

    def _fade(self) -> None:
        now = self._relay.loop.time()
        self._slowest *= _FADES ** (now - self._faded_at)
        self._faded_at = now

    def _look_at(self, link: ResumableLink, look: "_Look") -> "_Look":
        now = self._relay.loop.time()
        if look.conn is not link.conn:
            return _Look(link, now, min(2 * look.patience, _LONGEST) if look.impatient else look.patience)
        if link.kept and not link.parked:
            self._judge(link, look, now)
        return look

    def _judge(self, link: ResumableLink, look: "_Look", now: float) -> None:
        waited, likely = look.unacknowledged_for(link, now), self._freezes.likely(link, link.carried)
        patience = _DOUBT if likely else self._relay.patience.unacknowledged
        self._slowest = max(self._slowest, min(look.slowest, _SLOWEST))
        if waited and waited > look.patience * self._patience(link, look, patience) and not has_input(link.conn):
            look.impatient = True
            self._want(link, Cause.SILENT)
        elif self._freezes.known and self._would_freeze(link, look, now):
            self._want(link, Cause.ROTATION)
        elif look.silent_for(link, now) > self._hush(link, likely=likely) and len(link) and not look.asked:
            look.asked = True
            link.ask()
        elif look.has_served(link, now, self._relay.resumption.max_age, self._relay.resumption.max_bytes):
            self._want(link, Cause.ROTATION)

    def _hush(self, link: ResumableLink, *, likely: bool) -> float:
        """Return the seconds of silence until the server is asked for an acknowledgement."""
        if likely:
            return _HUSH
        return _DOUBT if self._freezes.possible(link.carried) else self._relay.patience.unacknowledged

    def _would_freeze(self, link: ResumableLink, look: "_Look", now: float) -> bool:
        """Return whether a connection has carried what others carry, or half of it and became silent.

        What a firewall counts may be more than what arrives: lost packets, and those that were sent twice.
        """
        if self._freezes.due(link, link.carried):
            return True
        silence = look.silent_for(link, now) if len(link) and self._freezes.near(link, link.carried) else 0.0
        return silence > _HUSH and silence > _ROUND_TRIPS * TcpInfo.of(link.conn).round_trip

    def _patience(self, link: ResumableLink, look: "_Look", least: float) -> float:
        """Return the seconds for an acknowledgement; a busy server or a long line needs more than the least."""
        info = TcpInfo.of(link.conn)
        look.line_was_down |= info.in_vain > 0
        return max(least, _ROUND_TRIPS * info.round_trip, _SLOW * self._slowest)


class _Look:
    """The last look at the present connection of a session."""

    __slots__ = (
        "_begun",
        "_bytes",
        "_heard_at",
        "_received",
        "_share",
        "_signs",
        "_since",
        "asked",
        "conn",
        "impatient",
        "line_was_down",
        "patience",
        "slowest",
    )

    def __init__(self, link: ResumableLink, now: float, patience: int) -> None:
        self.conn = link.conn
        self.patience = patience
        """The factor by which the watch waits longer than at first."""
        self.impatient = False
        """True if another connection is wanted because this one is silent, and did not freeze; its patience is twice as
        long."""
        self.asked = False
        """True if a silent server was asked for an acknowledgement."""
        self.slowest = 0.0
        """Seconds until the acknowledgement that has arrived since the last look, if the server was busy until then."""
        self.line_was_down = False
        """True if the kernel has sent in vain since the last acknowledgement."""
        self._signs = link.signs
        self._received = link.received
        self._since = self._heard_at = self._begun = now
        self._bytes = link.sent + link.received
        self._share = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret

    def unacknowledged_for(self, link: ResumableLink, now: float) -> float:
        """Return the seconds for which the server has acknowledged nothing although there is something.

        A server that reads nothing for a while acknowledges the same bytes again. While this end reads nothing, it
        can't tell.
        """
        self.slowest = 0.0
        if link.signs != self._signs:
            self.slowest = 0.0 if self.line_was_down else now - self._since
            self.patience, self.impatient, self.line_was_down = 1, False, False
        if link.signs != self._signs or not link.unacknowledged or link.session.paused:
            self._signs, self._since = link.signs, now
        return now - self._since

    def silent_for(self, link: ResumableLink, now: float) -> float:
        """Return the seconds for which nothing has arrived."""
        if link.received != self._received:
            self._received, self._heard_at, self.asked = link.received, now, False
        return now - self._heard_at

    def has_served(self, link: ResumableLink, now: float, age: float, size: int) -> bool:
        """Return whether the connection is too old, or has moved too much; 0 is no limit."""
        moved = link.sent + link.received - self._bytes
        return bool(age and now - self._begun > age * self._share) or bool(size and moved > size * self._share)
