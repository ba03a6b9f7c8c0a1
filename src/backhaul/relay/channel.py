"""What users ride on through the tunnel, and what they have to listen to."""

from typing import Protocol

from backhaul.net.buffers import shared_buffer
from backhaul.wire.smux import SmuxError

FRAMES_AT = 1 << 12  # where the first hole begins in the shared buffer; before it is room for control frames
MAX_FRAMES = 8  # per wake-up of a socket
_FRAMES_SIZE = MAX_FRAMES * ((1 << 16) + 16)  # bytes: so many of the largest smux frames with their headers

OUT = shared_buffer(FRAMES_AT + _FRAMES_SIZE)
"""Outgoing frames: put together and sent within one wake-up."""


class Consumer(Protocol):
    """Who uses a channel: told what comes, and when there is room."""

    def on_data(self, view: memoryview) -> int:
        """See smux.Sink."""

    def on_fin(self) -> None:
        """See smux.Sink."""

    def on_window(self) -> None:
        """See smux.Sink."""

    def on_lost(self, reason: SmuxError | str) -> None:
        """See smux.Sink."""

    def on_reset(self) -> None:
        """The other end, one of ours, has given up."""

    def deliver(self) -> None:
        """What `on_data` brought has been parsed; its views are valid for this call only."""

    def unpark(self) -> None:
        """The connection takes bytes again."""

    def close(self) -> None:
        """End whatever rides here, and drop the channel."""

    def reset(self) -> None:
        """The same with a reset: the program has failed, or has no memory for more."""


class Channel(Protocol):
    """One user's way through the tunnel, with frames of its own."""

    header_room: int  # bytes of the hole before each payload

    @property
    def frame_size(self) -> int:
        """Payload bytes of a frame, at most."""

    @property
    def burst(self) -> int:
        """Payload bytes that one user may send per wake-up: others want the connection as well."""

    @property
    def ours(self) -> bool:
        """Whether the other end is one of ours: it takes the end of one direction for just that."""

    @property
    def blocked(self) -> bool:
        """Whether the connection takes no bytes now; whoever has parked is told when it does."""

    @property
    def broken(self) -> bool:
        """Whether the connection is gone."""

    def park(self, consumer: Consumer, *, bulk: bool) -> None:
        """Call `consumer.unpark()` once when the connection is not blocked any more; who sends little goes first."""

    def room(self) -> int:
        """Payload bytes that the other end has room for; when it is 0, `on_window` tells of more."""

    def send_frames(self, count: int, *, last: bool = False) -> None:
        """Frame and send the `count` payload bytes that lie behind their holes in OUT; `last` finishes as well."""

    def touch(self, consumer: Consumer) -> None:
        """Call `consumer.deliver()` when the bytes that were read have been parsed."""

    def consumed(self, count: int) -> None:
        """`count` bytes of payload have gone to the socket."""

    def settle(self) -> None:
        """Do what follows from that: window updates leave, reading stops or goes on."""

    def finish(self) -> None:
        """Tell the other end that this direction is over."""

    def drop(self, *, reset: bool) -> None:
        """Let go of the channel: nothing is read or written any more."""
