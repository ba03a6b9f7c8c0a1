"""A smux stream as the channel of one user."""

from collections.abc import Hashable
from typing import Final

from backhaul.relay.channel import FRAMES_AT, HEADER_ROOM, Consumer
from backhaul.wire.smux import HEADER_SIZE

from .link import Link
from .sink import NOBODY, TunnelStream

_TOGETHER: Final = FRAMES_AT - HEADER_ROOM - HEADER_SIZE  # bytes of frames that fit before a larger one
_SEVERAL: Final = 4  # streams of a session: with fewer of them a frame would rarely find another one to leave with
_QUANTUM: Final = 1 << 15  # bytes: others wait no longer for a user with little to send than with frames of v0.7.2


class SmuxChannel:
    """One stream of a link, for the relay of a user's or a target's socket."""

    __slots__ = ("_link", "_stream", "frame_size", "frames", "half_close", "quantum")

    header_room = HEADER_SIZE

    def __init__(self, link: Link, stream: TunnelStream) -> None:
        self._link = link
        self._stream = stream
        self.frame_size = link.session.settings.max_frame
        self.quantum = min(self.frame_size, _QUANTUM)
        self.frames = link.sender.frames
        self.half_close = link.half_close

    def attach(self, consumer: Consumer) -> None:
        """Deliver to ``consumer`` from now on."""
        self._stream.sink = consumer

    @property
    def owner(self) -> Hashable:
        """The transport that the session belongs to."""
        return self._link.owner

    @property
    def burst(self) -> int:
        """Payload bytes that the stream may send per wake-up, at the pace of its link."""
        return self._link.sender.pace.burst

    @property
    def stream(self) -> str:
        """The numbers of stream and session."""
        return f"stream {self._stream.id} of session {self._link.number}"

    @property
    def undelivered(self) -> int:
        """None that are known: the kernel keeps bytes of all streams together."""
        return 0

    @property
    def blocked(self) -> bool:
        """True while the connection of all streams takes no bytes."""
        return self._link.sender.blocked

    @property
    def broken(self) -> bool:
        """True once the session has ended."""
        return self._link.session.error is not None

    def park(self, consumer: Consumer, *, bulk: bool) -> None:
        """Give ``consumer`` a turn when the connection is no longer blocked."""
        self._link.sender.turns.add(consumer, bulk=bulk)

    def room(self) -> int:
        """Return the payload bytes that may be sent now, by the window of the stream."""
        return self._stream.sendable() if self._link.whole_window else self._stream.stretch()

    def send_frames(self, count: int, *, last: bool = False) -> None:
        """Frame and send ``count`` bytes, with pending frames before these; few of them become pending ones."""
        session = self._link.session
        if self._link.together.on and len(session.control) + count <= _TOGETHER and len(session.streams) >= _SEVERAL:
            self._add(count, last=last)
            return
        memory = self.frames.memory
        start = FRAMES_AT
        if session.control or session.late:
            start -= self._put_control(memory)
            if self.broken:  # many control frames leave alone, which may show that the connection is
                return
        end = self._stream.put_headers(memory, FRAMES_AT, count)
        if last:
            end = self._put_fin(memory, end)
        self._link.sender.transmit_frames(memory, start, end)

    def _add(self, count: int, *, last: bool) -> None:
        """Add the frame to the pending ones."""
        memory = self.frames.memory
        end = self._stream.put_headers(memory, FRAMES_AT, count)
        self._link.session.control += memory[FRAMES_AT:end]
        if last:
            self._stream.finish()
        self._link.flush_together()

    def _put_control(self, memory: memoryview) -> int:
        """Put the pending frames before the first frame of payload; return how many bytes they take.

        Those before them stay free for a header.
        """
        control = self._link.session.take_control()
        if len(control) > FRAMES_AT - HEADER_ROOM:
            self._link.sender.transmit(control)
            return 0
        memory[FRAMES_AT - len(control) : FRAMES_AT] = control
        return len(control)

    def _put_fin(self, memory: memoryview, end: int) -> int:
        """Put the end of the stream after its last payload; return where it ends."""
        self._stream.finish()
        control = self._link.session.take_control()
        memory[end : end + len(control)] = control
        return end + len(control)

    def touch(self, consumer: Consumer) -> None:
        """Have ``consumer`` deliver when the link has parsed all bytes of this read."""
        self._link.touched.append(consumer)

    def consumed(self, count: int) -> None:
        """Count ``count`` bytes as consumed, which may queue a window update."""
        self._stream.consumed(count)

    def settle(self) -> None:
        """Send window updates and resume reading; while the link parses, it does so itself afterwards."""
        if not self._link.feeding:
            self._link.settle()

    def finish(self) -> None:
        """Send FIN."""
        self._stream.finish()
        self._link.flush_together()

    def drop(self, *, reset: bool) -> None:
        """Release the stream, with a reset if the peer knows it."""
        link, stream = self._link, self._stream
        try:
            if reset and link.resets and not link.closed:
                link.session.reset(stream.id)
            self._end(stream)
            stream.abandon()
            stream.sink = NOBODY  # without a reference cycle through its sink, everything is freed at once
            self.settle()
            link.stream_closed()
        except Exception as error:  # noqa: BLE001 - the peer would wait for the end of this stream for ever
            link.fail(error)

    def _end(self, stream: TunnelStream) -> None:
        """Send FIN at once: a user may wait for it."""
        stream.finish()


class UserChannel(SmuxChannel):
    """The stream of a user on the server. A target that has ended does not wait for the user's end."""

    __slots__ = ()

    def _end(self, stream: TunnelStream) -> None:
        """Send FIN, which is not urgent if the target has ended."""
        stream.finish_late()
        self._link.flush_late()
