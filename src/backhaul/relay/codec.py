"""The contract between a message channel and its codec, which makes and parses the bytes on the wire."""

from typing import Final, Protocol

MESSAGE_SIZE: Final = 1 << 17
"""Bytes of the largest message to a peer with extensions, its header included.

It fills eight records of TLS, each of which costs a system call, without a ninth for the last bytes.
"""
MAX_PONGS: Final = 1 << 14
"""Bytes of answers to the pings of one read, and of those that wait: a flood of pings gets no more answers."""


class Events(Protocol):
    """Takes the events that a codec finds in the bytes of the peer."""

    def on_payload(self, piece: memoryview) -> None:
        """Take payload, which is valid as long as the memory passed to the codec."""

    def on_end(self, taken: int) -> None:
        """Learn that the peer has ended its direction, after its socket had taken ``taken`` bytes of this end."""

    def on_reset(self) -> None:
        """Learn that the peer's user or target was reset."""

    def on_reset_after_end(self) -> None:
        """Learn that it was reset after the end of its direction: it may be that of the previous user."""

    def on_ping(self, answer: bytes) -> None:
        """Answer a ping."""

    def on_close(self, answer: bytes) -> None:
        """Answer a close, after which no bytes follow."""

    def on_free(self) -> None:
        """Learn that the client has finished with this user. Raises TransportError where no connection is reused."""


class _Nobody:
    """Ignores the rest of the bytes of a connection that is being closed."""

    def on_payload(self, piece: memoryview) -> None: ...
    def on_end(self, taken: int) -> None: ...
    def on_reset(self) -> None: ...
    def on_reset_after_end(self) -> None: ...
    def on_ping(self, answer: bytes) -> None: ...
    def on_close(self, answer: bytes) -> None: ...
    def on_free(self) -> None: ...


NOBODY: Final = _Nobody()


class Codec(Protocol):
    """One connection's framing in both directions. The bytes that it returns must be sent, in this order."""

    events: Events

    @property
    def header_room(self) -> int:
        """Bytes of the hole before the payload of a message."""

    @property
    def frame_size(self) -> int:
        """Payload bytes of the largest message."""

    @property
    def half_close(self) -> bool:
        """True if the ends of directions and resets are messages, so a connection that just closes was cut."""

    @property
    def pings(self) -> bool:
        """True if this end pings while the connection is silent; one end is enough."""

    @property
    def whole_frames(self) -> bool:
        """True if the peer sends a message without a wait for an acknowledgement of its header."""

    @property
    def unfinished(self) -> int:
        """Bytes that are kept of a message whose end has not arrived yet."""

    def message(self, count: int) -> memoryview:
        """Return the message, in OUT, with the ``count`` bytes after the hole there."""

    def end(self, taken: int) -> bytes:
        """Return the end of this direction; a peer that reuses connections learns how many bytes have been taken."""

    def reset(self) -> bytes:
        """Return a reset."""

    def reset_after_end(self) -> bytes:
        """Return a reset that follows the end of this direction."""

    def ping(self) -> bytes:
        """Return a ping."""

    def feed(self, data: memoryview) -> None:
        """Parse bytes of the connection, in memory that may be overwritten. Raises TransportError."""

    def release(self) -> None:
        """Stop reporting. Without reference cycles everything is freed at once."""


class LentCodec(Codec, Protocol):
    """The codec of a connection that serves one user after the other."""

    @property
    def between_messages(self) -> bool:
        """True if no part of another message has arrived."""

    def stop(self) -> None:
        """Stop reading, because later bytes concern the next user."""

    def rest(self) -> bytes:
        """Return the bytes that have arrived since the stop."""

    def free(self) -> bytes:
        """Return the message of the client that gives the connection back."""
