"""WebSocket frames (RFC 6455), without input or output: headers are written, and frames are parsed.

Payload is neither copied nor collected on its way through, unless the peer masked it. The client masks with a key of
zeros, which leaves the payload as it is. RFC 6455 section 5.3 asks for random keys, because they protect other programs
from bytes that scripts in a browser choose. There is no browser here.
"""

from collections.abc import Callable
from functools import cache
from struct import Struct
from typing import Final, NoReturn, Protocol

from backhaul.errors import TransportError

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

MAX_HEADER: Final = 14
"""Bytes of the longest header: two, a 64-bit length, a masking key."""
MAX_CONTROL: Final = 125
"""Payload bytes of a close, ping or pong frame (section 5.5)."""

MOST_AT_ONCE: Final = 256
"""Frames that a peer in good faith sends at once on a connection without a user; more of them are a flood.

A read of TLS returns a whole record, which may hold thousands.
"""

_MOST_EMPTY: Final = 1024  # fragments without payload on one connection: no program sends them
_CONTINUATION: Final = 0x0
_OPCODE: Final = 0x0F  # in the first byte
_CONTROL_BIT: Final = 0x08  # set in the opcodes of control frames, reserved ones included
_FINAL: Final = 0x80  # in the first byte: the message, or control frame, ends with this frame
_RESERVED: Final = 0x70  # in the first byte: for extensions, of which none is negotiated
_MASKED: Final = 0x80  # in the second byte
_LENGTH: Final = 0x7F  # in the second byte: the length up to 125, or the form of the longer length that follows
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_KEY_SIZE: Final = 4
_NO_KEY: Final = bytes(_KEY_SIZE)

_U16: Final = Struct("!H")
_U64: Final = Struct("!Q")
_MAX_U16: Final = 0xFFFF
_MAX_LENGTH: Final = 0x7FFF_FFFF_FFFF_FFFF  # the top bit must be 0 (section 5.2)

# Headers by whether they are masked; "4x" is the key of zeros.
_SHORT: Final = {False: Struct("!BB"), True: Struct("!BB4x")}
_MEDIUM: Final = {False: Struct("!BBH"), True: Struct("!BBH4x")}
_LONG: Final = {False: Struct("!BBQ"), True: Struct("!BBQ4x")}

# The size of a header by its second byte.
_SIZES: Final = bytes(
    2 + {_LENGTH_16: _U16.size, _LENGTH_64: _U64.size}.get(second & _LENGTH, 0) + (_KEY_SIZE if second & _MASKED else 0)
    for second in range(256)
)

# The first bytes of frames that may come now: none has reserved bits, control frames are never fragmented.
_CONTROL_FRAMES: Final = frozenset({_FINAL | CLOSE, _FINAL | PING, _FINAL | PONG})
_BETWEEN_MESSAGES: Final = _CONTROL_FRAMES | {TEXT, BINARY, _FINAL | TEXT, _FINAL | BINARY}
_WITHIN_MESSAGE: Final = _CONTROL_FRAMES | {_CONTINUATION, _FINAL | _CONTINUATION}


class WebSocketError(TransportError):
    """The peer broke the WebSocket protocol; the caller closes the connection."""


class Sink(Protocol):
    """Takes the payload and control frames that a parser finds.

    An exception of a method passes through ``feed``; the parser must not be used after that.
    """

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Take the next bytes of a message, TEXT or BINARY; with ``message_end`` they are its last.

        The piece is empty only at the end of an empty message, or of an empty last fragment. It is valid until this
        method returns.
        """

    def on_control(self, opcode: int, payload: bytes) -> None:
        """Take a CLOSE, PING or PONG, perhaps between the pieces of a message. A PING asks for a PONG."""


def put_header(
    buffer: bytearray | memoryview, payload_at: int, length: int, *, masked: bool, opcode: int = BINARY
) -> int:
    """Write the header of an unfragmented frame right before its payload; return where the header begins.

    ``payload_at`` is at least ``MAX_HEADER``; ``length`` is that of the payload, in bytes. The payload, which may be in
    ``buffer`` already, is left as it is. Clients mask, servers don't.
    """
    first, mask = _FINAL | opcode, _MASKED if masked else 0
    if length <= MAX_CONTROL:
        form = _SHORT[masked]
        start = payload_at - form.size
        form.pack_into(buffer, start, first, mask | length)
        return start
    form, code = (_MEDIUM[masked], _LENGTH_16) if length <= _MAX_U16 else (_LONG[masked], _LENGTH_64)
    start = payload_at - form.size
    form.pack_into(buffer, start, first, mask | code, length)
    return start


def encode(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """Return a whole frame; meant for small ones, because the payload is copied.

    Never send an empty message on the control channel: it crashes a v0.7.2 peer.
    """
    header = bytearray(MAX_HEADER)
    start = put_header(header, MAX_HEADER, len(payload), masked=masked, opcode=opcode)
    return bytes(header[start:]) + payload


class FrameParser:
    """Parses the bytes of the peer and hands payload to ``sink``, piece by piece.

    ``expect_masked`` is true if the peer is a client. ``sink`` may be replaced at any time, even from its own methods;
    the new one gets the next piece. As in the Go library, messages have no size limit, and lengths need not be in the
    shortest form.
    """

    __slots__ = (
        "_allowed",
        "_control",
        "_cut",
        "_empty",
        "_final",
        "_gathered",
        "_key",
        "_left",
        "_mask",
        "_opcode",
        "_stopped",
        "sink",
    )

    def __init__(self, sink: Sink, *, expect_masked: bool) -> None:
        self.sink = sink
        self._mask = _MASKED if expect_masked else 0
        self._allowed = _BETWEEN_MESSAGES
        self._cut = b""  # the beginning of a header that the last feed cut
        self._opcode = 0  # of the current message
        self._final = False  # the current frame is the last of its message
        self._control = 0  # opcode of the current frame if it is a control frame
        self._gathered = b""  # payload of the current control frame so far
        self._left = 0  # payload bytes of the current frame that have not arrived yet
        self._key = b""  # the masking key from the next byte on; empty if the payload needs no unmasking
        self._stopped = False
        self._empty = 0  # fragments without payload

    @property
    def between_messages(self) -> bool:
        """True if no message has begun; a control frame may have."""
        return self._allowed is _BETWEEN_MESSAGES and (not self._left or self._control > 0)

    def stop(self) -> None:
        """Keep the bytes after the present frame."""
        self._stopped = True

    def go_on(self) -> bytes:
        """Parse again from now on; return the bytes since a stop, which are to be fed again."""
        if not self._stopped:
            return b""
        self._stopped = False
        rest, self._cut = self._cut, b""
        return rest

    def feed(self, data: memoryview) -> None:
        """Take bytes of the connection, cut anywhere; ``data`` (format "B") may be reused on return.

        Raises WebSocketError at the first header that breaks the protocol, after all frames before it were delivered.
        """
        position, end = 0, len(data)
        if self._stopped:
            self._cut += data
            return
        if self._cut:
            position = self._complete_cut(data)
        elif self._left:
            position = self._take(data, 0)
        while position < end:
            start = 0 if self._stopped else self._begin(data, position)
            if not start:
                self._cut = bytes(data[position:])
                return
            position = self._take(data, start)

    def _complete_cut(self, data: memoryview) -> int:
        """Complete the header that the last feed cut and take its payload; return where that ends in ``data``."""
        cut = len(self._cut)
        header = self._cut + data[:MAX_HEADER]
        start = self._begin(header, 0)
        if not start:
            self._cut = header
            return len(data)
        self._cut = b""
        return self._take(data, start - cut)

    def _begin(self, data: memoryview | bytes, position: int) -> int:
        """Parse the header at ``position``; return where its payload starts, or 0 if the header is cut."""
        if len(data) - position < 2:  # noqa: PLR2004  two bytes determine the size of the header
            return 0
        first, second = data[position], data[position + 1]
        if first not in self._allowed or second & _MASKED != self._mask:
            self._reject(first)
        start = position + _SIZES[second]
        if start > len(data):
            return 0
        length = second & _LENGTH
        self._left = length if length <= MAX_CONTROL else _long_length(data, position, first, length)
        if self._mask:
            key = bytes(data[start - _KEY_SIZE : start])
            self._key = b"" if key == _NO_KEY else key
        if first & _CONTROL_BIT:
            self._control = first & _OPCODE
            return start
        self._control = 0
        self._opcode = first & _OPCODE or self._opcode
        self._final = first >= _FINAL
        self._allowed = _BETWEEN_MESSAGES if self._final else _WITHIN_MESSAGE
        return start

    def _take(self, data: memoryview, start: int) -> int:
        """Deliver the payload of the current frame that ``data`` holds from ``start``; return where it ends."""
        piece = data[start : start + self._left]
        stop = start + len(piece)
        self._left -= len(piece)
        if self._key:
            piece = self._unmask(piece)
        if self._control:
            self._take_control(piece)
            return stop
        message_end = self._final and not self._left
        if piece or message_end:
            self.sink.on_payload(self._opcode, piece, message_end=message_end)
        elif not self._left:
            self._count_empty()
        return stop

    def _count_empty(self) -> None:
        self._empty += 1
        if self._empty > _MOST_EMPTY:
            _fail(f"more than {_MOST_EMPTY} fragments are empty")

    def _take_control(self, piece: memoryview) -> None:
        self._gathered += piece
        if not self._left:
            payload, self._gathered = self._gathered, b""
            self.sink.on_control(self._control, payload)

    def _unmask(self, piece: memoryview) -> memoryview:
        plain = load_mask()(piece, self._key)
        seen = len(piece) % _KEY_SIZE
        self._key = self._key[seen:] + self._key[:seen]
        return memoryview(plain)

    def _reject(self, first: int) -> NoReturn:
        """Raise the error for a header with this first byte; if the byte is allowed, the masking is wrong."""
        opcode = first & _OPCODE
        if first in self._allowed:
            _fail("frames of a client must be masked" if self._mask else "frames of a server must not be masked")
        if first & _RESERVED:
            _fail("a frame uses an extension, though none was agreed on")
        if first in _BETWEEN_MESSAGES | _WITHIN_MESSAGE:
            _fail("a message begins within another" if opcode else "a frame continues no message")
        known = _FINAL | opcode in _CONTROL_FRAMES
        _fail("a control frame is fragmented" if known else f"a frame has the unknown type {opcode}")


class MessageReader:
    """A sink that collects small messages.

    ``on_message`` takes the opcode, TEXT or BINARY, and the payload, which may be empty; ``on_control`` is as in
    ``Sink``. A message raises WebSocketError as soon as it exceeds ``limit`` bytes.
    """

    __slots__ = ("_gathered", "_limit", "_on_message", "on_control")

    def __init__(
        self, limit: int, on_message: Callable[[int, bytes], None], on_control: Callable[[int, bytes], None]
    ) -> None:
        self._limit = limit
        self._gathered = b""
        self._on_message = on_message
        self.on_control = on_control

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Collect the message, and deliver it when it is complete."""
        if len(self._gathered) + len(piece) > self._limit:
            _fail(f"a message exceeds {self._limit} bytes where only short ones are expected")
        self._gathered += piece
        if message_end:
            message, self._gathered = self._gathered, b""
            self._on_message(opcode, message)


def _long_length(data: memoryview | bytes, position: int, first: int, code: int) -> int:
    """Return the length that follows the first two bytes of a header."""
    if first & _CONTROL_BIT:
        _fail(f"a control frame exceeds {MAX_CONTROL} bytes")
    form = _U16 if code == _LENGTH_16 else _U64
    length: int = form.unpack_from(data, position + 2)[0]
    if length > _MAX_LENGTH:
        _fail("a frame announces a length of more than 63 bits")
    return length


@cache
def load_mask() -> Callable[[memoryview, bytes], bytes]:
    """Load the compiled helper when the first masked byte arrives, which this program never sends.

    Its package costs 1.8 MB and 12 ms because it imports importlib.metadata.
    """
    try:
        from websockets.speedups import apply_mask  # noqa: PLC0415  see above
    except ImportError:  # installed without a compiler: the same function, 30 times slower
        from websockets.utils import apply_mask  # noqa: PLC0415  see above
    return apply_mask


def _fail(text: str) -> NoReturn:
    raise WebSocketError(f"the peer broke the WebSocket protocol: {text}")
