"""A control channel on a connection, with signals or messages of any form."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from backhaul.errors import TransportError, reason
from backhaul.net.closing import linger
from backhaul.net.poller import WOULD_BLOCK, Poller
from backhaul.net.predicates import retransmissions
from backhaul.net.sockets import watch_closely

from .silence import Silence

_READ_SIZE = 1024  # a flood of messages, each of which costs 15 us, delays others by half a millisecond
_MAX_UNSENT = 1 << 16  # bytes; a peer that leaves 65 536 signals unread has stopped reading


PEER_CLOSED = "the peer closed it"
"""The beginning of the reason of a control channel that the peer closed without CLOSED."""

UNANSWERED = "a heartbeat was not answered"
"""The reason of a control channel whose client is silent."""

CLOSED_BY_CLIENT = "the client closed it to stop or to reload"
"""The reason of a control channel that the client closed with CLOSED."""


Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)


class ControlDecoder(Protocol[Item_co]):
    """Decodes the bytes of a control channel into signals or messages."""

    def feed(self, data: bytes) -> Sequence[Item_co]:
        """Return the items in ``data``. Raises TransportError if it is invalid."""


class ControlChannel(Generic[Item]):
    """Owns the socket; sends and reads until it is lost or closed.

    ``on_item`` is called for each signal or message, ``lost`` at most once, and never after ``close``. A TransportError
    of ``on_item`` ends the channel.
    """

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        decoder: ControlDecoder[Item],
        on_item: Callable[[Item], None],
        lost: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._sock = sock
        self._decoder = decoder
        self._on_item = on_item
        self._lost = lost
        self._unsent = bytearray()
        self._silence = Silence(self._loop.time)
        self.closed = False
        watch_closely(sock)

    def start(self, rest: bytes = b"") -> None:
        """Begin to read; ``rest`` holds the bytes after the handshake."""
        self._poller.own(self._sock, self._readable, self)
        self._decode(rest)

    @property
    def unanswered(self) -> bool:
        """True while the kernel repeats bytes because the peer has not acknowledged them."""
        return retransmissions(self._sock) > 0

    def send(self, data: bytes) -> None:
        """Send ``data`` soon; signals of one turn of the event loop leave together."""
        if self.closed:
            return
        if not self._unsent or len(self._unsent) > _MAX_UNSENT:  # a full connection is not looked at otherwise
            self._loop.call_soon(self._poller.run, self._sock, self._flush)
        self._unsent += data

    def fell_silent(self) -> bool:
        """Return whether no bytes have moved in either direction since the last call."""
        return self._silence.fell()

    def close(self) -> None:
        """Send the bytes that are still unsent, if the kernel takes them, and close; the rest is lost silently."""
        if self.closed:
            return
        if self._unsent:
            with contextlib.suppress(OSError):
                self._sock.send(self._unsent)
        self._release()

    def _flush(self) -> None:
        if self.closed or not self._unsent:
            return
        self._silence.broken()
        try:
            del self._unsent[: self._sock.send(self._unsent)]
        except WOULD_BLOCK:
            pass
        except OSError as error:
            self._end(reason(error))
            return
        if len(self._unsent) > _MAX_UNSENT:
            self._end("the peer has stopped reading")
        elif self._unsent:
            self._poller.on_writable(self._sock, self._writable)

    def _writable(self) -> None:
        self._poller.ignore_writable(self._sock)
        self._flush()

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_SIZE)
        except WOULD_BLOCK:
            return
        except OSError as error:
            self._end(self._silence.before(reason(error)))
            return
        if data:
            self._silence.broken()
            self._poller.narrow_path.heard(self._sock)
            self._decode(data)
        else:
            self._end(self._silence.before(PEER_CLOSED))

    def _decode(self, data: bytes) -> None:
        try:
            for item in self._decoder.feed(data):
                if not self.closed:
                    self._on_item(item)
        except TransportError as error:
            self._end(str(error))

    def abort(self) -> None:
        """End the channel, because the program has failed."""
        self._end("internal error")

    def _end(self, reason: str) -> None:
        if self.closed:
            return
        lost = self._lost
        self._release()
        lost(reason)

    def _release(self) -> None:
        self.closed = True
        linger(self._poller, self._sock)
        del self._on_item, self._lost  # methods of the owner; without the reference cycle everything is freed at once
