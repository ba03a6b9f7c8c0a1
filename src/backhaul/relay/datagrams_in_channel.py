"""Datagrams of one flow in a framed channel (a smux stream, a WebSocket connection), an extension."""

from collections.abc import Callable

from backhaul.net.udp import Counters, DatagramQueue, RoomShare
from backhaul.wire.datagrams import Batch, Splitter, framed_size, join, put
from backhaul.wire.smux import SmuxError

from .channel import FRAMES_AT, Channel

Received = Callable[[Batch], None]


class DatagramChannel:
    """One end of a flow, and the consumer of its channel, which it owns.

    ``received`` gets the datagrams of the other side; ``ended`` is called when that has closed, never after ``close``.
    """

    __slots__ = (
        "_answered",
        "_channel",
        "_ended",
        "_partial",
        "_queue",
        "_received",
        "_splitter",
        "_unsent",
        "_waiting",
    )

    def __init__(self, channel: Channel, counters: Counters, room: RoomShare) -> None:
        """``room`` is shared with other flows."""
        self._channel = channel
        self._splitter = Splitter(stamped=False)
        self._partial = 0  # bytes of a datagram whose end has not arrived yet
        self._queue = DatagramQueue(counters, room=room)
        self._unsent: memoryview = memoryview(b"")  # the rest of datagrams that the window has cut
        self._waiting = False  # for the connection, or for the window
        self._received: Received | None = None
        self._answered = False
        self._ended: Callable[[], None] | None = None

    def start(self, received: Received, ended: Callable[[], None], early: bytes = b"") -> None:
        """Begin; ``early`` holds bytes that arrived on the channel before and are not consumed yet."""
        self._received = received
        self._ended = ended
        if early:
            taken = self.on_data(memoryview(early))
            self._channel.consumed(taken)
            self._channel.settle()

    def send(self, batch: Batch) -> None:
        """Send all datagrams in one write, or queue them after those that wait."""
        if self._waiting or self._channel.blocked:
            self._queue.send(batch)
            self._wait()
        elif batch:
            self._frame(batch)

    def close(self) -> None:
        """Close the channel cleanly."""
        if self._ended is None:
            return
        self._received = self._ended = None
        self._queue.close()
        self._channel.drop(reset=False)

    def unpark(self) -> None:
        """Send the datagrams that wait, because the connection accepts bytes again."""
        self._go_on()

    def on_window(self) -> None:
        """Send the datagrams that wait, because the peer has room again."""
        self._go_on()

    def on_data(self, view: memoryview) -> int:
        """Pass the datagrams on at once, which is safe because none of them acts on the channel."""
        if self._received:
            batch = self._splitter.feed(view)
            if self._partial or self._splitter.tail:
                self._count_parts()
            if batch:
                self._pass_on(batch)
        return len(view)

    def on_fin(self) -> None:
        """End the flow, which has no halves."""
        self._over()

    def on_lost(self, reason: SmuxError | str) -> None:
        """End the flow with its connection."""
        del reason
        self._over()

    def on_reset(self) -> None:
        """End the flow, because the peer has reset it."""
        self._over()

    def abort(self) -> None:
        """End the flow after an internal error."""
        self._over()

    def over_budget(self) -> None:
        """End the flow for lack of memory."""
        self._over()

    def deliver(self) -> None:
        """Do nothing: ``on_data`` keeps no datagrams."""

    def _pass_on(self, batch: Batch) -> None:
        if not self._answered:
            self._answered = True
            self._channel.touch(self)  # nothing is left to deliver, but this proves the session
        if self._received:
            self._received(batch)

    def _count_parts(self) -> None:
        """Count the parts of datagrams that wait for their rest to leave or to arrive; without room the flow ends."""
        self._partial = len(self._splitter.tail)
        if not self._queue.keep_beside(len(self._unsent) + self._partial):
            self._over()

    def _over(self) -> None:
        if self._ended:
            self._ended()

    def _frame(self, batch: Batch) -> None:
        """Send the batch in one frame, built in the shared buffer, unless it is too large for that."""
        channel = self._channel
        size = framed_size(batch)
        if size <= channel.frame_size and size <= channel.room():
            put(batch, channel.frames.memory, FRAMES_AT + channel.header_room)
            channel.send_frames(size)
        else:
            self._write(memoryview(join(batch)))

    def _write(self, data: memoryview) -> None:
        place = FRAMES_AT + self._channel.header_room
        while data and (room := self._channel.room()):
            count = min(len(data), room, self._channel.frame_size)
            self._channel.frames.memory[place : place + count] = data[:count]
            self._channel.send_frames(count)
            data = data[count:]
        self._unsent = data
        self._waiting = bool(data)  # on_window wakes it
        self._count_parts()

    def _wait(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._channel.park(self, bulk=self._queue.size > self._piece)

    def _go_on(self) -> None:
        if self._ended is None:
            return
        self._waiting = False
        if self._unsent:
            self._write(self._unsent)
        while self._queue and not self._waiting:
            if self._channel.blocked:
                self._wait()
            else:
                self._write(memoryview(join(self._queue.take_some(self._piece))))

    @property
    def _piece(self) -> int:
        """The bytes that leave the queue at once: on a slow connection other users wait for them."""
        return min(self._channel.burst, self._channel.quantum)
