"""The sending half of a session that outlives its connections: sent bytes are kept until they are acknowledged."""

import socket
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final

from .resume import Spool
from .sender import Outlet, SenderOwner
from .stall import StallDetector

if TYPE_CHECKING:
    from backhaul.relay.resumption import Resumption

    from .records import Records
    from .resources import SenderResources
    from .sealed_link import RecordSender

_LARGE: Final = 1 << 16  # bytes of frames that are kept where they are, instead of copied

MakeLine = Callable[..., "RecordSender"]


class SpooledSender(Outlet):
    """Keeps the bytes that it passes to the sender of the present connection.

    While there is no connection, and during a replay, everything waits in the spool. So it does not matter what the
    connections have done with their backlogs.
    """

    __slots__ = (
        "_asked",
        "_ceiling",
        "_counted",
        "_limits",
        "_line",
        "_live",
        "_look_at",
        "_most",
        "_question",
        "_relay",
        "_up",
        "spool",
    )

    def __init__(
        self,
        owner: SenderOwner,
        relay: "SenderResources",
        conn: socket.socket,
        stall: StallDetector,
        *,
        make_line: MakeLine,
        records: "Records",
        limits: "Resumption",
        question: bytes,
    ) -> None:
        """``question`` asks the other end for an acknowledgement."""
        super().__init__(owner, limits.frames)
        self._relay = relay
        self._limits = limits
        self._most = self._limits.share  # bytes above which streams wait
        self._ceiling = self._most  # bytes above which all are control frames: streams that had more have stopped
        self._counted = 0  # bytes of memory that the limits know of
        self._question = question
        self._look_at = limits.step  # bytes of the spool at which its memory is looked at
        self.spool = Spool(limits.frames)
        """The bytes that are not acknowledged."""
        self._use(make_line(self, relay, conn, stall, records=records))
        self._live = True  # what is sent leaves at once

    @property
    def owner(self) -> Hashable:
        """The transport that the session belongs to."""
        return self._owner.owner

    @property
    def unsent(self) -> int:
        """The number of bytes that wait until the connection takes them."""
        return self._line.unsent

    @property
    def clear(self) -> bool:
        """True if frames that must not wait may be sent: there is a connection, and it takes bytes."""
        return self._live and not self._line.blocked

    @property
    def closed(self) -> bool:
        """True once the session is over."""
        return self._owner.closed

    def transmit(self, data: memoryview | bytes) -> None:
        """Keep ``data``, and send it unless everything waits."""
        try:
            if not self._live:
                self._hold(bytes(data))
                return
            self.spool.append(data)
            self._line.transmit(data)
            if self._line.blocked or self.spool.size >= self._look_at:
                self._judge()
        except Exception as error:  # noqa: BLE001 - frames of others may be lost, whatever the caller does
            self.fail(error)

    def transmit_frames(self, memory: memoryview, start: int, end: int) -> None:
        """Keep these bytes of ``memory``, and send them unless everything waits."""
        try:
            if not self._live:
                self._hold(bytes(memory[start:end]))
                return
            keep = self.spool.append if end - start < _LARGE else self.spool.keep
            keep(memory[start:end])
            self._line.transmit_frames(memory, start, end)
            if self._line.blocked or self.spool.size >= self._look_at:
                self._judge()
        except Exception as error:  # noqa: BLE001 - as above
            self.fail(error)

    def transmit_clear(self, data: bytes) -> None:
        """Send bytes that belong to no record, and to the present connection alone."""
        if self._up:
            self._line.transmit_clear(data)

    def transmit_unnumbered(self, frame: bytes) -> None:
        """Send a frame that is not kept; the connection must be ``clear``."""
        self._line.transmit(frame)
        self._judge()

    def acknowledged(self, count: int) -> None:
        """Drop the bytes that the other end has received, whose number has these low 32 bits. Raises ResumeError."""
        self.spool.acknowledge_low(count)
        self._count()

    def go_on(self) -> None:
        """Let streams send again, if they have waited for acknowledgements that have come."""
        if self.clear:
            self.blocked = self._crowded()
            if not self.blocked:
                self._owner.drained()

    def part(self) -> None:
        """Leave the connection, which is lost."""
        self._up = self._live = False
        self.blocked = True
        self._line.close()

    def move(
        self, conn: socket.socket, stall: StallDetector, make_line: MakeLine, records: "Records", received: int
    ) -> None:
        """Take another connection, to an end that has received that many bytes. Raises ResumeError."""
        self.spool.rewind(received)
        self._count()
        self._limits.replayed += self.spool.size
        self._use(make_line(self, self._relay, conn, stall, records=records))

    def close(self) -> None:
        """Drop everything."""
        self._up = self._live = False
        self._line.close()
        self.spool.clear()
        self._count()

    def drained(self) -> None:
        """Continue when everything given to the connection has left: with the replay, then with the streams."""
        while self.spool.replaying and self._up and not self._line.blocked:
            self._line.transmit(self.spool.take())
        if not self._up or self.spool.replaying:
            return
        self._live = True
        self.blocked = self._crowded() or self._line.blocked
        self._owner.drained()

    def lost(self, why: str) -> None:
        """Continue without the connection, which is broken."""
        self._owner.lost(why)

    def end(self, why: str) -> None:
        """End the session."""
        self._owner.end(why)

    def fail(self, error: Exception) -> None:
        """End the session because of an unexpected exception."""
        self._owner.fail(error)

    def _use(self, line: "RecordSender") -> None:
        self._line = line
        self.pace = line.pace
        self._up = True
        self._asked = -1

    def _hold(self, piece: bytes) -> None:
        """Keep a piece until there is a connection, and everything before it was sent on that."""
        self.spool.hold(piece)
        self._judge()

    def _count(self) -> None:
        memory = self.spool.memory
        self._limits.held += memory - self._counted
        self._counted = memory
        self._look_at = self.spool.size + self._limits.step

    def _judge(self) -> None:
        """Let streams wait if they have to; they go on when the connection takes bytes, or an acknowledgement comes."""
        if self._crowded() or self._line.blocked:
            self.blocked = True
        if self._counted > self._ceiling + self._limits.most_control:
            self._owner.end("the other end acknowledges nothing")

    def _crowded(self) -> bool:
        """Look at the memory; return whether there is too much in it."""
        self._count()
        crowded = self._counted >= self._most or self._limits.held >= self._limits.memory
        return crowded and self._full()

    def _full(self) -> bool:
        """Return whether the spool is full; the other end is asked once for an acknowledgement, which may be late."""
        self._most = self._limits.most(self._most)
        self._ceiling = max(self._most, min(self._ceiling, self._counted))
        full = self._counted >= self._most
        if full and self.clear and self._asked != self.spool.acknowledged:
            self._asked = self.spool.acknowledged
            self._line.transmit(self._question)
        return full
