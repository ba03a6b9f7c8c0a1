"""A socket joined with a framed channel, which is a smux stream or a WebSocket connection.

Payload is read into a shared buffer after holes for the headers, so it is never copied: the channel writes headers into
the holes and sends the whole.
"""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from backhaul.net.closing import release
from backhaul.net.poller import END_FOLLOWS, FAULT, WOULD_BLOCK
from backhaul.net.predicates import at_eof
from backhaul.net.tcp_info import unacknowledged
from backhaul.wire.smux import SmuxError

from . import half_close as rule
from .channel import FRAMES_AT, Channel, payloads
from .outcome import ORDERLY, Done, Ending, Outcome, Progress
from .payload_writer import PayloadWriter
from .rest import read_rest
from .traffic import Traffic

if TYPE_CHECKING:
    from .resources import JointResources

# The tables for a channel to v0.7.2, by the side of the socket, for the first direction: the second ends everything.
_WITHOUT: Final = (rule.FAR_DOES_NOT, rule.NEAR_DOES_NOT)


class FramedRelay(PayloadWriter):
    """Owns the socket and its end of the channel; closes both once.

    ``towards_user`` is true if the socket is the user's; otherwise it is the target's.
    """

    __slots__ = (
        "_bulk",
        "_from_sock",
        "_hold",
        "_other",
        "_side",
        "_state",
        "done",
        "taken",
    )

    def __init__(
        self,
        relay: "JointResources",
        channel: Channel,
        sock: socket.socket,
        traffic: Traffic,
        done: Done | None,
        *,
        towards_user: bool,
    ) -> None:
        self._from_sock, to_sock = traffic if towards_user else (traffic.sent, traffic.received)
        super().__init__(relay, channel, sock, to_sock)
        self.taken = 0  # bytes read from the socket
        self.done = done
        self._side, self._other = (rule.USER, rule.TARGET) if towards_user else (rule.TARGET, rule.USER)
        self._state = rule.OPEN
        self._bulk = False
        self._hold = 0.0  # seconds of silence for which the end of the user is held back
        self._prepare(traffic)

    def _prepare(self, traffic: Traffic) -> None:
        """Add what a subclass needs."""

    @property
    def moved(self) -> int:
        """The bytes moved so far, both ways together."""
        return self.taken + self.given

    @property
    def undelivered(self) -> int:
        """The bytes that the kernel still sends, both ways together."""
        return unacknowledged(self._sock) + self.channel.undelivered

    def progress(self) -> Progress:
        """Return the progress of the user."""
        return Progress(*self._both_ways(), rule.PHASES[self._state.ended], self.channel.stream)

    def start(self, kept: bytes = b"", *, ended: bool = False, sent_before: int = 0) -> None:
        """Begin; ``kept`` holds bytes that arrived on the channel before and are not consumed yet.

        ``ended`` is true if the peer has finished its direction since. ``sent_before`` is the number of the socket's
        bytes that were sent on the channel before.
        """
        if self.closed:
            return
        self._relay.live.add(self)
        if sent_before:
            self._took(sent_before)
        try:
            if kept:
                self._send_kept(kept)
            if ended and not self.closed:
                self.on_fin()
            if not self.closed:
                self._relay.poller.own(self._sock, self.readable, self)
        except Exception as error:  # noqa: BLE001 - as in _attempt
            self._fail(error)

    def read_now(self) -> None:
        """Read the bytes that have arrived on the socket already."""
        self._attempt(self.readable)

    def _attempt(self, action: Callable[[], None]) -> None:
        """Run ``action`` outside of the socket's own callbacks, which the poller guards."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - as there
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Reset a relay in an unknown state, which might lose bytes or hang."""
        self.abort()
        self._relay.poller.faults.fault(FAULT, error)

    def readable(self) -> None:
        """Read from the socket, unless the channel is blocked or has no room."""
        if self.channel.blocked:
            self._relay.poller.ignore_readable(self._sock)
            self.channel.park(self, bulk=self._bulk)
        elif room := self.channel.room():
            self._read(min(room, self.channel.burst if self._bulk else self.channel.quantum))
        else:  # on_window wakes it
            self._relay.poller.ignore_readable(self._sock)

    def unpark(self) -> None:
        """Read and send some bytes at once, and watch the socket again."""
        if not self.closed and self._side not in self._state.ended:
            self._attempt(self._go_on)

    def _go_on(self) -> None:
        self._relay.poller.on_readable(self._sock, self.readable)
        if room := self.channel.room():
            self._read(min(room, self.channel.burst, self.channel.quantum))

    def on_window(self) -> None:
        """Watch the socket again, because the peer has room."""
        if not self.closed and self._side not in self._state.ended:
            self._relay.poller.on_readable(self._sock, self.readable)

    def on_data(self, view: memoryview) -> int:
        """Collect the payload, which is delivered when the whole read has been parsed."""
        if self._pieces:
            self._pieces.append(view)
        else:
            self.channel.touch(self)
            self._pieces = [view]
        return 0

    def on_fin(self) -> None:
        """Act on the end of the channel, after the payload that still waits for the socket."""
        if self._pieces or self._backlog:
            self._state, _ = rule.BOTH_UNDERSTAND[self._state, self._other, rule.ENDED]
        else:
            self._channel_over()

    def on_lost(self, reason: SmuxError | str) -> None:
        """End with the connection; the payload of a direction that had ended is delivered first."""
        del reason
        if self._pieces or (self._backlog and self._other in self._state.ended):
            self._relay.poller.ignore_readable(self._sock)
        else:
            self._lost()

    def on_reset(self) -> None:
        """End because the socket at the other end was reset, after the payload that had arrived."""
        if self._pieces:
            self.deliver()
        self.end(Ending.RESET_BY_TARGET if self._side is rule.USER else Ending.RESET_BY_USER, tell=False)

    def abort(self) -> None:
        """End because the program has failed."""
        self.end(Ending.FAILED)

    def over_budget(self) -> None:
        """End because the socket does not read."""
        self.end(Ending.SHORT_OF_MEMORY)

    def close(self, *, reset: bool = False) -> None:
        """Close the socket and finish the channel cleanly, or with a reset because the program stops."""
        self.end(Ending.SHUTDOWN if reset else rule.ENDING[self._state.ended])

    def silent_for(self, seconds: float) -> None:
        """Reset both sides after a long silence; tell the channel of a held-back end after a short one."""
        if seconds >= self._relay.patience.half_close:
            rule.log_silence(seconds)
            self.end(Ending.SILENT)
        elif seconds >= self._hold:
            self._tell_held()

    def _lost(self) -> None:
        self.end(rule.ENDING[self._state.ended] if self._other in self._state.ended else Ending.LOST)

    def sock_reset(self) -> None:
        """End because the socket was reset, after the bytes that had arrived, perhaps an answer to an upload."""
        read_rest(self._sock, self.readable, lambda: self.closed)
        self.end(Ending.RESET_BY_USER if self._side is rule.USER else Ending.RESET_BY_TARGET)

    def end(self, ending: Ending, *, tell: bool = True) -> None:
        """Close both sides; ``tell`` the peer of a reset. Later calls do nothing."""
        if self.closed:
            return
        self.closed = True
        spoilt = () if ending in ORDERLY else rule.spoilt(ending, self._state)
        if self._backlog:
            self._backlog.drop()
            self._backlog = None
        release(
            self._relay.poller,
            self._sock,
            reset=self._other in spoilt,
            drained=self._side in self._state.ended,
            complete=bool(spoilt) and self._other in rule.complete(ending, self._state),
        )
        self.channel.drop(reset=tell and self._side in spoilt)
        self._relay.finished(self, self.done, Outcome(*self._both_ways(), ending))

    def _both_ways(self) -> tuple[int, int]:
        """Return the bytes from the user, and those to the user."""
        return (self.taken, self.given) if self._side is rule.USER else (self.given, self.taken)

    def _read(self, limit: int) -> None:
        """Read up to ``limit`` bytes of the socket after holes for their headers, and send them."""
        memory, size = self.channel.frames.memory, self.channel.frame_size
        try:
            if limit <= size:
                first = FRAMES_AT + self.channel.header_room
                count = self._sock.recv_into(memory[first : first + limit])
            else:
                count = self._sock.recvmsg_into(payloads(memory, size, self.channel.header_room, limit))[0]
            last = count > 0 and self._relay.poller.ending and self.channel.half_close and at_eof(self._sock)
        except WOULD_BLOCK:
            self.channel.settle()
            return
        except OSError:
            self.sock_reset()
            return
        if not count:
            self._socket_over()
            return
        self._bulk = count >= min(limit, self.channel.quantum)
        self._took(count)
        self.channel.send_frames(count, last=last)
        if last and not self.closed:
            self._socket_over(told=True)

    def _took(self, count: int) -> None:
        self.taken += count
        self._answered = False
        self._from_sock.bytes += count

    def _socket_over(self, *, told: bool = False) -> None:
        """Act on the end of the socket; ``told`` is true if the channel has sent it with the last bytes."""
        table = rule.BOTH_UNDERSTAND if self._state.over or self.channel.half_close else _WITHOUT[self._side]
        self._state, action = table[self._state, self._side, rule.OVER]
        if action is rule.CLOSE:
            self.close()
            return
        self._relay.poller.on_reset(self._sock, self.sock_reset)
        if action is rule.NOTHING:
            return
        if action is rule.HOLD:
            self._hold_back()
        elif not told:
            self.channel.finish()
        if not self.closed:
            self._relay.watch(self)

    def _hold_back(self) -> None:
        self._hold = self._relay.patience.before_end(sent=self.taken, answered=self._answered)
        self.channel.settle()
        if not self._hold:
            self._tell_held()

    def _tell_held(self) -> None:
        self._state, action = rule.BOTH_UNDERSTAND[self._state, self._side, rule.SILENT]
        if action is rule.TELL:
            self.channel.finish()

    def _channel_over(self) -> None:
        """Act on the end of the channel, all of whose payload the socket has taken."""
        if self.closed:
            return
        table = rule.BOTH_UNDERSTAND if self._state.over or self.channel.half_close else _WITHOUT[self._side]
        self._state, action = table[self._state, self._other, rule.OVER]
        if action is rule.CLOSE:
            self.close()
        if action is not rule.TELL:
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.sock_reset()
            return
        self._relay.watch(self)

    def _flags(self) -> int:
        """Let an end that follows at once share a packet with the last bytes, unless it may be a reset.

        A close with unread bytes is a reset, and the kernel drops the bytes that it has not sent.
        """
        if self._other not in self._state.ended:
            return 0
        orderly = self._side in self._state.ended or (self.channel.half_close and not self.channel.broken)
        return END_FOLLOWS if orderly else 0

    def _after_delivery(self) -> None:
        if self.closed or self._backlog:
            return
        if self.channel.broken:
            self._lost()
        elif self._other in self._state.ended:
            self._channel_over()
