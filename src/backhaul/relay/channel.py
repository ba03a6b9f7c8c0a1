"""The contract between a user's way through the tunnel and its consumer, and the buffer for outgoing frames."""

from collections.abc import Hashable
from typing import Final, Protocol

from backhaul.net.buffers import shared_buffer
from backhaul.wire.smux import SmuxError

from .frames import Frames

# Offset of the first hole in the shared buffer, before which is room for control frames. Sending from a few bytes
# before a page costs 40 % more (measured: 0.17 s of CPU for a GB instead of 0.12), so control frames begin after one.
FRAMES_AT = (1 << 12) + (1 << 8)
HEADER_ROOM = 16
"""Bytes before control frames that stay free, for the header of a message and the kind of a sealed record."""
MAX_FRAMES = 8  # per wake-up of a socket
_FRAMES_SIZE = MAX_FRAMES * ((1 << 16) + 16)  # bytes: so many of the largest smux frames with their headers

OUT = shared_buffer(FRAMES_AT + _FRAMES_SIZE)
"""Outgoing frames, which are built and sent within one wake-up."""


SHARED: Final = Frames(OUT)
"""The memory of channels that do not keep the bytes that they have sent."""


def payloads(memory: memoryview, size: int, header_room: int, limit: int) -> list[memoryview]:
    """Return places in ``memory`` for payloads of ``size`` bytes, ``limit`` bytes together, each after a hole."""
    places: list[memoryview] = []
    start = FRAMES_AT + header_room
    while limit and len(places) < MAX_FRAMES:
        length = min(size, limit)
        places.append(memory[start : start + length])
        start += length + header_room
        limit -= length
    return places


class Consumer(Protocol):
    """The user of a channel, which gets its payload and events. The first four methods are those of ``smux.Sink``."""

    def on_data(self, view: memoryview) -> int:
        """Take payload; return how many of its bytes, from the front, are consumed for good."""

    def on_fin(self) -> None:
        """Learn that the peer has finished its direction."""

    def on_window(self) -> None:
        """Send again, because the peer has room."""

    def on_lost(self, reason: SmuxError | str) -> None:
        """Learn that the connection is gone; only ``deliver`` may still be called."""

    def on_reset(self) -> None:
        """Reset the user, because a peer with extensions has reset its end."""

    def deliver(self) -> None:
        """Write the payload of this read; the views of ``on_data`` are valid until this returns."""

    def unpark(self) -> None:
        """Send again, because the connection accepts bytes."""

    def close(self) -> None:
        """End the connection cleanly, and drop the channel."""

    def abort(self) -> None:
        """End the connection with a reset, after an internal error."""

    def over_budget(self) -> None:
        """End the connection with a reset, for lack of memory."""


class Channel(Protocol):
    """One user's way through the tunnel, with frames of its own."""

    header_room: int  # bytes of the hole before each payload

    @property
    def owner(self) -> Hashable:
        """The transport that it belongs to."""

    @property
    def frames(self) -> Frames:
        """The memory in which its frames are built."""

    @property
    def frame_size(self) -> int:
        """Payload bytes of the largest frame."""

    @property
    def quantum(self) -> int:
        """Payload bytes that a user with little to send may send per wake-up, at most those of a frame."""

    @property
    def burst(self) -> int:
        """Payload bytes that any user may send per wake-up; the limit lets others have their turn."""

    @property
    def half_close(self) -> bool:
        """True if the peer keeps one direction open when the other ends, and this direction can still be ended."""

    @property
    def stream(self) -> str:
        """The stream of a session that this is, as text; empty for a connection of the user's own."""

    @property
    def undelivered(self) -> int:
        """The bytes that the kernel still sends; 0 for a stream, whose session keeps few there."""

    @property
    def blocked(self) -> bool:
        """True while the connection takes no bytes; a parked consumer is called when it does."""

    @property
    def broken(self) -> bool:
        """True once the connection is gone."""

    def park(self, consumer: Consumer, *, bulk: bool) -> None:
        """Call ``consumer.unpark()`` once the connection is no longer blocked; users that send little go first."""

    def room(self) -> int:
        """Return the payload bytes that the peer has room for; after 0, ``on_window`` is called when there is more."""

    def send_frames(self, count: int, *, last: bool = False) -> None:
        """Frame and send the ``count`` payload bytes after their holes in its memory; with ``last`` finish as well."""

    def touch(self, consumer: Consumer) -> None:
        """Call ``consumer.deliver()`` when all bytes of this read have been parsed."""

    def consumed(self, count: int) -> None:
        """Note that the socket has taken ``count`` bytes of payload."""

    def settle(self) -> None:
        """Act on consumed bytes: send window updates, stop or resume reading."""

    def finish(self) -> None:
        """Tell the peer that this direction is over."""

    def drop(self, *, reset: bool) -> None:
        """Release the channel, cleanly or with a reset; the consumer is not called any more."""
