"""The contract between a user's way through the tunnel and its consumer, and the buffer for outgoing frames."""

from typing import Protocol

from backhaul.net.buffers import shared_buffer
from backhaul.wire.smux import SmuxError

FRAMES_AT = 1 << 12  # where the first hole begins in the shared buffer; before it is room for control frames
MAX_FRAMES = 8  # per wake-up of a socket
_FRAMES_SIZE = MAX_FRAMES * ((1 << 16) + 16)  # bytes: so many of the largest smux frames with their headers

OUT = shared_buffer(FRAMES_AT + _FRAMES_SIZE)
"""Outgoing frames, which are put together and sent within one wake-up."""


class Consumer(Protocol):
    """The user of a channel, which is told what comes and when there is room."""

    def on_data(self, view: memoryview) -> int:
        """See smux.Sink."""

    def on_fin(self) -> None:
        """See smux.Sink."""

    def on_window(self) -> None:
        """See smux.Sink."""

    def on_lost(self, reason: SmuxError | str) -> None:
        """See smux.Sink."""

    def on_reset(self) -> None:
        """Reset the user, because a peer with extensions has given up."""

    def deliver(self) -> None:
        """Take what ``on_data`` has brought; its views are valid for this call only."""

    def unpark(self) -> None:
        """Send again, because the connection accepts bytes."""

    def close(self) -> None:
        """End the connection in order, and drop the channel."""

    def reset(self) -> None:
        """End the connection with a reset, after an internal error or for lack of memory."""


class Channel(Protocol):
    """One user's way through the tunnel, with frames of its own."""

    header_room: int  # bytes of the hole before each payload

    @property
    def frame_size(self) -> int:
        """Payload bytes of the largest frame."""

    @property
    def burst(self) -> int:
        """Payload bytes that one user may send per wake-up, so that others get their turn."""

    @property
    def half_close(self) -> bool:
        """True if the peer takes the end of one direction for just that, and this direction can still be ended."""

    @property
    def blocked(self) -> bool:
        """Whether the connection takes no bytes now; a parked consumer is told when it does."""

    @property
    def broken(self) -> bool:
        """Whether the connection is gone."""

    def park(self, consumer: Consumer, *, bulk: bool) -> None:
        """Call ``consumer.unpark()`` once the connection is no longer blocked; users that send little go first."""

    def room(self) -> int:
        """Return the payload bytes that the peer has room for; after 0, ``on_window`` tells of more."""

    def send_frames(self, count: int, *, last: bool = False) -> None:
        """Frame and send the ``count`` payload bytes that lie after their holes in OUT; ``last`` finishes as well."""

    def touch(self, consumer: Consumer) -> None:
        """Call ``consumer.deliver()`` when all bytes of this read have been parsed."""

    def consumed(self, count: int) -> None:
        """Note that the socket has taken ``count`` bytes of payload."""

    def settle(self) -> None:
        """Act on what was consumed: send window updates, stop or resume reading."""

    def finish(self) -> None:
        """Tell the peer that this direction is over."""

    def drop(self, *, reset: bool) -> None:
        """Release the channel; nothing is read or written any more."""
