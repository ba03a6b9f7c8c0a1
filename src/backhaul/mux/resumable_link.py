"""A session that outlives its connections, between two ends of this program."""

import functools
import logging
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from backhaul.errors import reason
from backhaul.net.closing import release
from backhaul.net.portion import MOST
from backhaul.state import LinkState
from backhaul.wire.peer import Peer
from backhaul.wire.smux import Role, Settings
from backhaul.wire.smux.frames import ASK, BYE, pack_frame

from .acknowledgements import Acknowledgements
from .owner import LinkOwner
from .pacing import avoid_waiting
from .resume import ResumeError
from .sealed_link import MakeRecords, RecordLink
from .spooled_sender import MakeLine, SpooledSender
from .stall import StallDetector
from .targets import CLEAR, Targets

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from .resources import ResumableResources

log = logging.getLogger("backhaul.mux")


_MOST_READS: Final = 32  # of a lost connection: 8 MiB, more than most kernels keep


class Line(NamedTuple):
    """A connection for a session, and the form of the bytes on it."""

    conn: socket.socket
    make_records: MakeRecords
    make_sender: MakeLine
    private: bool
    """True if an eavesdropper can't read the bytes of users on it."""


class ResumableLink(RecordLink):
    """A session that waits for another connection when it loses one.

    Its targets are sealed with the keys of its first connection, because a replay may repeat them on another one.
    """

    __slots__ = (
        "_acknowledgements",
        "_awaits_streams",
        "_before",
        "_expiry",
        "_key",
        "_parked_at",
        "epoch",
        "identity",
        "kept",
        "parked",
        "private",
        "signs",
    )

    _relay: "ResumableResources"
    sender: SpooledSender
    resumes = True

    def __init__(
        self,
        relay: "ResumableResources",
        line: Line,
        role: Role,
        settings: Settings,
        owner: LinkOwner,
        *,
        peer: Peer,
        identity: bytes,
        targets: Targets = CLEAR,
    ) -> None:
        self.identity = identity
        """The proof of its first connection, by which both ends know it."""
        self.private = line.private
        """True if eavesdroppers could not read its bytes, which must then not cross another line in clear."""
        self.signs = 0
        """The number of acknowledgements that have arrived, each of which proves the way to the other end."""
        self.epoch = 0
        """The number of the last attempt to resume it."""
        self.parked = False
        """True while it has no connection."""
        self.kept = True
        self._awaits_streams = role is Role.SERVER  # the other end may have opened one, of which nothing has arrived
        self._acknowledgements = Acknowledgements(relay, settings.version, self)
        self._expiry: TimerHandle | None = None
        self._parked_at = 0.0
        self._before = (0, 0)  # bytes received, and acknowledged, on earlier connections
        self._key = (peer.name, identity)
        super().__init__(
            relay,
            line.conn,
            role,
            settings,
            owner,
            peer=peer,
            make_records=line.make_records,
            make_sender=functools.partial(
                SpooledSender,
                make_line=line.make_sender,
                limits=relay.resumption,
                question=pack_frame(settings.version, ASK, 0),
            ),
            targets=targets,
        )
        self.milestone = 0
        self._choose_parser()
        relay.resumption.links[self._key] = self

    @property
    def stalled(self) -> bool:
        """True if new users should use another session."""
        return self.parked or self.stall.stalled

    @property
    def received(self) -> int:
        """The bytes that have arrived and had their effect."""
        return self.session.received - self.session.cut

    @property
    def sent(self) -> int:
        """The bytes that were sent so far."""
        return self.acknowledged + self.unacknowledged

    @property
    def carried(self) -> tuple[int, int]:
        """The bytes received on the present connection, and those acknowledged on it."""
        received, acknowledged = self._before
        return self.received - received, self.acknowledged - acknowledged

    @property
    def acknowledged(self) -> int:
        """The bytes that the other end has received, as far as is known."""
        return self.sender.spool.acknowledged

    @property
    def unacknowledged(self) -> int:
        """The bytes of which that is not known."""
        return self.sender.spool.size

    def state(self) -> LinkState:
        """Return the state of this session as data."""
        return msgspec.structs.replace(super().state(), parked=self.parked, spooled=self.sender.spool.memory)

    def usable(self) -> bool:
        """Return whether a stream should be opened; on a parked session its user has to wait.

        A session that waits for another connection when it loses one need not ask the kernel whether it has.
        """
        if self.parked:
            return not self.closed
        if self.kept and self._relay.resumption.timeout:
            return not (self.closed or self.stall.detect())
        return super().usable()

    def flush(self) -> None:
        """Send the pending frames if the connection takes them, even when the spool is full.

        Otherwise two ends with full spools could wait for each other.
        """
        session = self.session
        if not (session.control or session.late) or self.closed:
            return
        if self.sender.clear:
            self.sender.transmit(session.take_control())
        else:
            self.weigh()

    def ask(self) -> None:
        """Send a frame that the other end acknowledges, to learn whether the connection is alive."""
        self.session.nop()
        self.flush()

    def lost(self, why: str) -> None:
        """Wait for another connection, unless nothing is lost with this one or an end has announced its stop."""
        if self.closed or self.parked:
            return
        self.sender.part()
        self._take_rest()
        if self.closed or self.parked:
            return
        if not self._worth_keeping:
            self.end(why)
            return
        self.part()
        log.debug("session %d lost its connection: %s; %d streams wait for another one", self.number, why, len(self))
        self.tell_owner()
        self.owner.link_parked(self)

    def _take_rest(self) -> None:
        """Take the bytes that have arrived on a lost connection: a reset overtakes the message that ends the session.

        Not in the shared buffer, in which consumers may have payload.
        """
        for _ in range(_MOST_READS):
            if self.feeding or self.closed or self.parked or self.session.paused:
                return
            rest = memoryview(bytearray(MOST))
            try:
                count = self.conn.recv_into(rest)
            except OSError:
                return
            if not count:
                return
            self._take(rest[:count])

    @property
    def _worth_keeping(self) -> bool:
        resumption = self._relay.resumption
        if not (self.kept and resumption.timeout):
            return False
        if len(self):
            return True
        return bool(self._awaits_streams or self.unacknowledged or self._pending) and resumption.keeps_finished

    @property
    def _pending(self) -> bool:
        """True if frames wait to be sent, perhaps the last ones of a user."""
        return bool(self.session.control or self.session.late)

    def part(self) -> None:
        """Leave the connection; the session has none from now on."""
        self.parked = True
        self._relay.resumption.parked += 1
        self._parked_at = self._relay.loop.time()
        self._leave_connection()
        self._expiry = self._relay.loop.call_later(self._relay.resumption.timeout, self._expired)

    def _leave_connection(self) -> None:
        self.sender.part()
        self.stall.close()
        self._keepalive.end()
        release(self._relay.poller, self.conn)

    @property
    def settled(self) -> bool:
        """True if the other end has acknowledged everything: bytes on a line are lost with the connection."""
        return not (self.unacknowledged or self._pending) and super().settled

    def keep_no_longer(self) -> None:
        """End a session without a connection, and any other one as soon as it loses its own."""
        self.kept = False
        if self.parked:
            self.end("an end has stopped")

    def settle_position(self) -> int:
        """Return the number of bytes received, after which a replay has to begin; the session has no connection."""
        self.session.change_transport()
        return self.received

    def move(self, line: Line, *, received: int, start: int, first: bytes = b"", rest: bytes = b"") -> None:
        """Continue on another connection; the other end has received some bytes and sends those from ``start``.

        ``first`` is to be sent before the session's own bytes, ``rest`` was read already. Numbers that don't fit end
        the session. It stays parked, for as long as before, if the connection can't be watched.
        """
        self.conn = line.conn
        self.private |= line.private
        self._records = line.make_records(self._take_data)
        self.stall = StallDetector(self._relay, line.conn, self.peer, self.session, self.tell_owner)
        try:
            self._acknowledgements.ledger.rewind(self.received, start)
            self.sender.move(line.conn, self.stall, line.make_sender, self._records, received)
        except ResumeError as error:
            self.end(str(error))
            return
        self._before = self.received, self.acknowledged
        self._choose_parser()
        try:
            self._begin_again()
        except OSError as error:  # ENOSPC, ENOMEM: epoll_ctl(2)
            log.debug("session %d can't use a connection: %s", self.number, reason(error))
            self._leave_connection()
            return
        if first:
            self.sender.transmit_clear(first)
        if rest and not self.closed:
            self._take(memoryview(bytearray(rest)))
        self.sender.drained()
        self.settle()
        if not self.closed:
            self.tell_owner()

    def _begin_again(self) -> None:
        relay = self._relay
        relay.poller.own(self.conn, self._readable, self)
        self._unpark()
        self._paused = False
        relay.resumption.resumes += 1
        relay.resumption.seconds += relay.loop.time() - self._parked_at
        self._keepalive.begin()
        avoid_waiting(self.conn)

    def _unpark(self) -> None:
        if self.parked:
            self.parked = False
            self._relay.resumption.parked -= 1
        if self._expiry:
            self._expiry.cancel()

    def on_ack(self, count: int) -> None:
        """Drop bytes that the other end has received, if any; streams continue after this read."""
        before = self.acknowledged
        self.signs += 1
        self.sender.acknowledged(count)
        if self.acknowledged == before:
            self.session.note_vain()
        self.milestone = 0

    def on_ask(self) -> None:
        """Acknowledge the received bytes after this read."""
        self._acknowledgements.requested()

    def on_bye(self) -> None:
        """End, because the other end has."""
        self.kept = False
        self.end("the peer has ended it")

    def end(self, why: str) -> None:
        """End for good, and tell the other end, on the connection if that accepts bytes now."""
        if self.kept and not self.closed:
            self.kept = False
            if self.sender.clear:
                self.sender.transmit_unnumbered(pack_frame(self.session.settings.version, BYE, 0))
            self.owner.link_ended(self.peer, self.identity)
        super().end(why)

    def drained(self) -> None:
        """Continue after everything has left, first with an acknowledgement that is due."""
        self._acknowledgements.settle()
        super().drained()

    def passed(self) -> None:
        """Send a due acknowledgement, and let streams continue that have waited for one."""
        super().passed()
        if self.closed:
            return
        self._acknowledgements.settle()
        if self.sender.blocked:
            self.sender.go_on()
        if self._ending and not self.closed:
            self.finish(self._ending)

    def _choose_parser(self) -> None:
        """Parse bytes directly if that is possible."""
        repeated = self._acknowledgements.ledger.repeated > 0
        self._records.deliver = self._take_data if repeated else self.session.feed
        self._parse = self.session.feed if self._records.bare and not repeated else self._parse_records

    def _take_data(self, data: memoryview) -> None:
        rest = self._acknowledgements.ledger.skip(data)
        self._choose_parser()
        super()._take_data(rest)

    @property
    def reading_stopped(self) -> bool:
        """True while the connection is not read, because the session has no room."""
        return self._paused and not self.parked

    def _turn_reading(self) -> None:
        if not self.parked:
            super()._turn_reading()
            if self._paused:
                self._acknowledgements.reading_stops()

    def beat(self, share: float) -> None:
        """Send a NOP if one is due, and give memory back that a burst of users has left."""
        self._relay.resumption.frames.trim()
        super().beat(share)

    def _detach(self) -> None:
        self._unpark()
        self._acknowledgements.close()
        self._relay.resumption.links.pop(self._key, None)
        super()._detach()
        self._relay.resumption.frames.trim()

    def _expired(self) -> None:
        self.end(f"no other connection within {self._relay.resumption.timeout:g} s")
