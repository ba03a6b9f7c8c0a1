"""A smux stream as the channel of one user."""

from backhaul.relay.channel import FRAMES_AT, OUT, Consumer
from backhaul.wire.smux import HEADER_SIZE

from .link import Link
from .sink import NOBODY, TunnelStream


class SmuxChannel:
    """One stream of a link, as the relay of a user's or a target's socket sees it."""

    __slots__ = ("_link", "_stream", "frame_size")

    header_room = HEADER_SIZE

    def __init__(self, link: Link, stream: TunnelStream) -> None:
        self._link = link
        self._stream = stream
        self.frame_size = link.session.settings.max_frame

    def attach(self, consumer: Consumer) -> None:
        """Deliver to ``consumer`` from now on."""
        self._stream.sink = consumer

    @property
    def burst(self) -> int:
        """See Channel."""
        return self._link.sender.pace.burst

    @property
    def ours(self) -> bool:
        """See Channel."""
        return self._link.ours

    @property
    def blocked(self) -> bool:
        """See Channel."""
        return self._link.sender.blocked

    @property
    def broken(self) -> bool:
        """See Channel."""
        return self._link.session.error is not None

    def park(self, consumer: Consumer, *, bulk: bool) -> None:
        """See Channel."""
        self._link.sender.turns.add(consumer, bulk=bulk)

    def room(self) -> int:
        """See Channel."""
        return self._stream.sendable() if self._link.ours else self._stream.stretch()

    def send_frames(self, count: int, *, last: bool = False) -> None:
        """See Channel. Pending control frames leave in the same write, before these."""
        start = end = FRAMES_AT
        if self._link.session.control:
            start -= self._put_control()
        while count:
            length = min(count, self.frame_size)
            self._stream.put_header(OUT, end, length)
            end += HEADER_SIZE + length
            count -= length
        if last:
            end = self._put_fin(end)
        self._link.sender.transmit(OUT[start:end])

    def _put_control(self) -> int:
        """Put the pending control frames in front of the first frame of payload; return how many bytes they take."""
        control = self._link.session.take_control()
        if len(control) > FRAMES_AT:
            self._link.sender.transmit(control)
            return 0
        OUT[FRAMES_AT - len(control) : FRAMES_AT] = control
        return len(control)

    def _put_fin(self, end: int) -> int:
        """Put the end of the stream after its last payload; return where it ends."""
        self._stream.finish()
        control = self._link.session.take_control()
        OUT[end : end + len(control)] = control
        return end + len(control)

    def touch(self, consumer: Consumer) -> None:
        """See Channel."""
        self._link.touched.append(consumer)

    def consumed(self, count: int) -> None:
        """See Channel."""
        self._stream.consumed(count)

    def settle(self) -> None:
        """See Channel."""
        if not self._link.feeding:
            self._link.settle()

    def finish(self) -> None:
        """See Channel."""
        self._stream.finish()
        self._link.flush()

    def drop(self, *, reset: bool) -> None:
        """See Channel. A NOP with the stream's id, which the Go program ignores, tells this program of a reset."""
        link, stream = self._link, self._stream
        try:
            if reset and link.ours and not link.closed:
                link.session.nop(stream.id)
            stream.finish()
            stream.abandon()
            stream.sink = NOBODY  # without a circle through its sink, all of this is freed at once
            self.settle()
            link.stream_closed()
        except Exception as error:  # noqa: BLE001 - the peer would wait for the end of this stream for ever
            link.fail(error)
