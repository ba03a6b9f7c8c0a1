"""One end of a session with an application that behaves like a program on the Go library.

The application reads when a test calls it, at most one frame (or the rest of one). Its writes wait for the window.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from backhaul.wire.smux import HEADER_SIZE, Role, Session, Settings, SmuxError, Stream
from backhaul.wire.smux.frames import FIN, HEADER, PSH, SYN, UPD, UPDATE, pack_frame


def psh(stream_id: int, payload: bytes, version: int = 1) -> bytes:
    """Return a frame with payload."""
    return pack_frame(version, PSH, stream_id, payload)


def syn(stream_id: int, version: int = 1) -> bytes:
    """Return the frame that opens a stream."""
    return pack_frame(version, SYN, stream_id)


def fin(stream_id: int, version: int = 1) -> bytes:
    """Return the frame that ends a direction of a stream."""
    return pack_frame(version, FIN, stream_id)


def pattern(length: int, start: int = 0) -> bytes:
    """Return the bytes that the vectors use: byte i is i modulo 251."""
    block = bytes(range(251))
    return (block * ((start + length) // 251 + 1))[start : start + length]


@dataclass(frozen=True)
class Frame:
    command: int
    stream_id: int
    length: int
    payload: bytes


def split(data: bytes | bytearray) -> list[Frame]:
    """Cut the well-formed output of one end into frames, in another way than the session does."""
    frames = []
    while data:
        _, command, length, stream_id = HEADER.unpack_from(data)
        stop = HEADER_SIZE + length
        assert len(data) >= stop
        frames.append(Frame(command, stream_id, length, bytes(data[HEADER_SIZE:stop])))
        data = data[stop:]
    return frames


def updates(data: bytes) -> list[tuple[int, int, int]]:
    """Return (id, consumed, window) of every UPD in ``data``."""
    found = [frame for frame in split(data) if frame.command == UPD]
    return [(frame.stream_id, *UPDATE.unpack(frame.payload)) for frame in found]


@dataclass
class Pipe:
    """The application's side of a stream: a sink that keeps all bytes until they are read."""

    end: "End"
    stream: "Stream[Pipe]"
    unread: list[bytes] = field(default_factory=list)
    unsent: bytes = b""
    finishing: bool = False
    received: bytearray = field(default_factory=bytearray)
    events: list[str] = field(default_factory=list)
    at_once: bool = False  # consume in on_data, like a relay whose socket never blocks
    late: bool = False  # a last FIN has time
    lost: SmuxError | None = None

    def on_data(self, view: memoryview) -> int:
        if self.at_once:
            self.received += view
            return len(view)
        self.unread.append(bytes(view))
        return 0

    def on_fin(self) -> None:
        self.events.append("fin")

    def on_window(self) -> None:
        self.events.append("window")
        self.pump()

    def on_lost(self, reason: SmuxError) -> None:
        self.events.append("lost")
        self.lost = reason

    def write(self, data: bytes) -> None:
        self.unsent += data
        self.pump()

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes of the oldest frame, or b"" without one."""
        if not self.unread:
            return b""
        piece, rest = self.unread[0][:size], self.unread[0][size:]
        self.unread[:1] = [rest] if rest else []
        self.received += piece
        self.stream.consumed(len(piece))
        return piece

    def finish(self) -> None:
        """Finish when everything written has been sent."""
        self.finishing = True
        self.pump()

    def close(self) -> None:
        """Close as Go does: send FIN at once, and read nothing more."""
        self.unsent = b""
        self.stream.finish()
        self.stream.abandon()

    def pump(self) -> None:
        while count := min(len(self.unsent), self.stream.sendable(), self.end.session.settings.max_frame):
            frame = bytearray(HEADER_SIZE + count)
            self.end.collect()
            self.stream.put_headers(frame, 0, count)
            frame[HEADER_SIZE:] = self.unsent[:count]
            self.unsent = self.unsent[count:]
            self.end.output += frame
        if self.finishing and not self.unsent:
            if self.late:
                self.stream.finish_late()
            else:
                self.stream.finish()


class End:
    """A session, its handler, and the pipes on it in the order in which they appeared."""

    def __init__(
        self,
        role: Role,
        settings: Settings | None = None,
        *,
        at_once: bool = False,
        late: bool = False,
        resets: bool = False,
        resumes: bool = False,
        to_send: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        """``to_send``: the number of bytes that the application sends on each of these streams, from its beginning."""
        self.time = 0.0
        self.session = Session(role, settings or Settings(), self, self.time)
        self.pipes: list[Pipe] = []
        self.output = bytearray()
        self.reset: list[int] = []
        self.acks: list[int] = []
        self.asks = self.byes = 0
        self.refused: list[int] = []
        self.at_once = at_once
        self.late = late
        self.resets = resets
        self.resumes = resumes
        self.to_send = to_send

    def on_stream(self, stream: Stream[Pipe]) -> None:
        self.pipes.append(Pipe(self, stream, at_once=self.at_once, late=self.late))
        stream.sink = self.pipes[-1]
        self.pipes[-1].write(bytes(self.to_send.get(stream.id, 0)))

    def on_reset(self, stream: Stream[Pipe]) -> None:
        self.reset.append(stream.id)

    def on_ack(self, count: int) -> None:
        self.acks.append(count)

    def on_ask(self) -> None:
        self.asks += 1

    def on_bye(self) -> None:
        self.byes += 1

    def now(self) -> float:
        return self.time

    def on_refused(self, stream_id: int) -> None:
        self.refused.append(stream_id)

    def open(self) -> Pipe:
        self.on_stream(self.session.open())
        return self.pipes[-1]

    def pipe(self, stream_id: int) -> Pipe:
        return next(pipe for pipe in self.pipes if pipe.stream.id == stream_id)

    def feed(self, data: bytes) -> None:
        self.session.feed(memoryview(data))

    def feed_bytewise(self, data: bytes) -> None:
        for position in range(len(data)):
            self.session.feed(memoryview(data)[position : position + 1])

    def collect(self) -> None:
        """Append the control frames to the bytes framed so far."""
        self.output += self.session.take_control()

    def take(self) -> bytes:
        """Return all bytes to be sent, in order."""
        self.collect()
        output = bytes(self.output)
        self.output.clear()
        return output


def exchange(a: End, b: End) -> None:
    """Move bytes both ways until neither end has any."""
    while True:
        from_a, from_b = a.take(), b.take()
        if not from_a and not from_b:
            return
        b.feed(from_a)
        a.feed(from_b)
