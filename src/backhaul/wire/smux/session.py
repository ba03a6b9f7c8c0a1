"""A smux session without input or output: bytes in, calls to sinks and handler out, control frames to send.

Parsing makes no object per frame and copies no payload. It accepts exactly what the Go library's receiver accepts,
oddities included: it ignores the length field of all commands but PSH, unknown stream ids, and repeated SYNs and FINs.
A wrong version or an unknown command ends the session. The handler knows the peers that may send RST, ACK, BYE and ASK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NoReturn, Protocol

from .errors import FloodError, SmuxError, StreamIdsExhausted
from .frames import ACK, ASK, BYE, FIN, HEADER, HEADER_SIZE, MAX_STREAM_ID, NOP, PSH, RST, SYN, UPD, UPDATE
from .keepalive import Keepalive
from .stream import S, Stream
from .window import Growth

if TYPE_CHECKING:
    from .settings import Role, Settings

CONTROL_LIMIT: Final = 256 * 1024
"""Bytes of unsent control frames above which reading stops. A peer that asks for answers (a FIN for a FIN, a UPD for
data) and does not read them would fill the memory. In fair use a few hundred bytes are pending."""


_VAIN_OF_A_STREAM: Final = 256
"""Frames without an effect that each stream is worth at its end, when the peer's frames are on their way: updates, and
payload in small pieces. They take no more time than the beginning and the end of a user."""

_ORPHANED: Final = "peer does not end its streams"


class Handler(Protocol[S]):
    """The owner of a session, to which it reports. No method may feed the session.

    A SmuxError that one raises leaves ``feed``, and the owner closes the session; no method may raise anything else.
    """

    def on_stream(self, stream: Stream[S]) -> None:
        """Take a stream that the peer opened; set its sink.

        Push and finish nothing before its first payload has arrived: the Go library registers a stream after it has
        written the SYN, and silently drops what arrives in between.
        """

    @property
    def resets(self) -> bool:
        """True if the peer may reset streams, which the Go library can't."""

    def on_reset(self, stream: Stream[S]) -> None:
        """Learn that the peer has reset a stream; a FIN follows if it has sent none before."""

    @property
    def resumes(self) -> bool:
        """True if the peer acknowledges the bytes of the session, to resume it on another connection."""

    def on_ack(self, count: int) -> None:
        """Learn how many bytes the peer has received, modulo 2^32."""

    def on_ask(self) -> None:
        """Learn that the peer asks for an ACK."""

    def on_bye(self) -> None:
        """Learn that the peer has ended the session; close it."""

    def now(self) -> float:
        """Return the time in seconds, on the clock of ``Session.tick``."""

    def on_refused(self, stream_id: int) -> None:
        """Learn, once in a session, that a SYN was ignored because ``max_streams`` exist."""


class Session(Generic[S]):
    """The streams of one transport.

    The caller owns the transport. It feeds what it reads, except while ``paused``. It calls ``take_control`` when the
    transport accepts bytes, and sends what that returns. It calls ``tick`` no later than ``next_deadline``. ``now`` is
    the time in seconds on the caller's monotonic clock.
    """

    __slots__ = (
        "_cut",
        "_handler",
        "_keepalive",
        "_orphans",
        "_payload_id",
        "_payload_left",
        "_refused",
        "_update_id",
        "_vain",
        "_version",
        "control",
        "error",
        "growth",
        "late",
        "next_id",
        "orphans",
        "received",
        "room",
        "settings",
        "streams",
    )

    def __init__(self, role: Role, settings: Settings, handler: Handler[S], now: float) -> None:
        self.settings = settings
        self.room = settings.receive_buffer + settings.window_growth
        """Unread bytes that may still come, of all streams together; one read may overdraw it.

        It is the only flow control of version 1: without room the transport is not read, and the peer's writes block.
        """
        self.growth = Growth(settings.window_growth, handler.now)
        """Room for larger windows."""
        self.control = bytearray()
        """Frames to be sent before payload that is not framed yet; see ``take_control``."""
        self.late = bytearray()
        """Frames that are not urgent: they leave with the next others, or when the caller wants; see there."""
        self.received = 0
        """The number of bytes that were fed, without those that the peer does not count, or sends again."""
        self.streams: dict[int, Stream[S]] = {}
        """The streams that are not closed by both sides, by their ids."""
        self.error: SmuxError | None = None
        """The reason why the session has ended; None before that."""
        self._handler = handler
        self._keepalive = Keepalive(settings.keepalive_interval, settings.keepalive_timeout, now)
        self._version = settings.version
        self.next_id: int = role.value
        """The id of the next stream that this end opens, or a later one if the peer has taken it."""
        self._refused = False
        self.orphans = 0
        """The number of streams that this end has finished and abandoned, and the peer has not finished."""
        self._orphans: frozenset[int] = frozenset()  # those of the last look, if they were too many
        self._vain = 0  # frames without an effect since the last NOP, fewer by those that ended streams are worth
        self._cut = bytearray()  # the beginning of a header or of a UPD's payload (8 bytes either), cut by a read
        self._update_id: int | None = None  # the next 8 bytes are the payload of a UPD for this id
        self._payload_left = 0  # bytes of the current PSH that have not arrived yet
        self._payload_id = 0  # the stream of that PSH, looked up for each piece because it may be gone by then

    def __len__(self) -> int:
        """Return how many streams are not closed by both sides."""
        return len(self.streams)

    def get(self, stream_id: int) -> Stream[S] | None:
        """Return the stream with that id unless both sides have closed it."""
        return self.streams.get(stream_id)

    @property
    def paused(self) -> bool:
        """True while the transport must not be read; any call of session or stream may change it."""
        return self.room <= 0 or len(self.control) > CONTROL_LIMIT

    @property
    def unread(self) -> int:
        """Return how many bytes the sinks have not consumed."""
        return self.settings.receive_buffer + self.settings.window_growth - self.room

    @property
    def in_use(self) -> bool:
        """True if this end has not abandoned all streams."""
        return len(self.streams) > self.orphans

    @property
    def next_deadline(self) -> float:
        """The time at which ``tick`` has something to do."""
        return self._keepalive.deadline

    def open(self) -> Stream[S]:
        """Return a new stream, with its SYN queued; the caller sets its sink.

        Push the first bytes at once: the Go program accepts streams one by one and lets all others wait for the target
        of this one. Raises StreamIdsExhausted, or SmuxError if the session has ended.
        """
        if self.error is not None:
            raise SmuxError(f"no stream can be opened: {self.error}")
        while self.next_id in self.streams:  # the peer may use ids of this end's parity, as in the Go library
            self.next_id += 2
        if self.next_id > MAX_STREAM_ID:
            raise StreamIdsExhausted("all stream ids of this session are used up")
        stream = self._add(self.next_id)
        self.next_id += 2
        self.control += HEADER.pack(self._version, SYN, 0, stream.id)
        return stream

    def nop(self) -> None:
        """Queue a NOP."""
        self.control += HEADER.pack(self._version, NOP, 0, 0)

    def reset(self, stream_id: int) -> None:
        """Queue the reset of a stream, for a peer that knows it; the stream is finished and abandoned next."""
        self.control += HEADER.pack(self._version, RST, 0, stream_id)

    def take_control(self) -> bytes:
        """Return the queued control frames, and clear the queue.

        The caller sends them after all frames whose headers it has put, and before those that it puts later. So control
        frames have priority, but a FIN still follows its stream's payload.
        """
        if self.late:
            self.control += self.late
            self.late.clear()
        frames = bytes(self.control)
        self.control.clear()
        return frames

    @property
    def cut(self) -> int:
        """The number of bytes fed last that have had no effect: the beginning of a header, or of a UPD's payload."""
        return len(self._cut)

    def change_transport(self) -> None:
        """Continue on another transport, on which the peer begins with those bytes; count its silence from now on."""
        self.received -= len(self._cut)
        self._cut.clear()
        self._keepalive.restart(self._handler.now())

    def feed(self, data: memoryview) -> None:
        """Take bytes of the transport, cut anywhere; ``data`` (format "B") may be reused on return.

        Raises SmuxError when the peer breaks the protocol; the sinks learn of it first. Bytes after the end of the
        session are ignored.
        """
        if self.error is not None:
            return
        self.received += len(data)
        if self._cut:
            data = self._complete_cut(data)
        self._parse(data)

    def tick(self, now: float, share: float = 1.0) -> None:
        """Queue a NOP if one is due, the next one after ``share`` of the interval.

        Raises SmuxError if the peer is silent for too long; the caller closes the session, or changes the transport.
        Raises FloodError, after which nothing else than closing it helps, if the peer leaves too many streams open.
        """
        if self.error is not None:
            return
        if self._keepalive.nop_due(now, share):
            self.nop()
            self._vain = 0
            self._look_for_orphans()
        if self._keepalive.is_dead(now, reading=not self.paused):
            raise SmuxError(f"peer sent nothing for {self.settings.keepalive_timeout:g} s")

    def _look_for_orphans(self) -> None:
        """Raise FloodError if the peer has left too many streams open since the last look: they take memory."""
        before, self._orphans = self._orphans, frozenset[int]()
        if self.orphans > self.settings.most_orphans:
            self._orphans = frozenset(stream.id for stream in self.streams.values() if stream.abandoned)
            if len(before & self._orphans) > self.settings.most_orphans:
                raise FloodError(_ORPHANED)

    def close(self, reason: SmuxError) -> None:
        """End the session, for which smux has no frame, and tell every stream's sink the ``reason``."""
        if self.error is not None:
            return
        self.error = reason
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            stream.lose(reason)

    def forget(self, stream_id: int) -> None:
        """Drop a stream that both sides have finished. Called by the stream."""
        del self.streams[stream_id]
        self._vain -= _VAIN_OF_A_STREAM

    def note_vain(self) -> None:
        """Count a frame without an effect. Raises SmuxError, because all other sessions wait while one is parsed."""
        self._vain += 1
        if self._vain > self.settings.most_vain:
            self._flooded("peer floods the session with frames that have no effect")

    def _parse(self, data: memoryview) -> None:
        end, position = len(data), 0
        if self._payload_left:
            position = self._on_payload(self._payload_id, data, 0, self._payload_left)
        unpack, version, streams = HEADER.unpack_from, self._version, self.streams
        while end - position >= HEADER_SIZE and self.error is None:
            if self._update_id is not None:
                self._on_update(self._update_id, *UPDATE.unpack_from(data, position))
                position += HEADER_SIZE
                continue
            peer_version, command, length, stream_id = unpack(data, position)
            position += HEADER_SIZE
            if peer_version != version or command > UPD:
                self._on_other(peer_version, command, stream_id)
                continue
            self._keepalive.received = True
            if command != PSH:
                self._on_control(command, stream_id)
            elif (stop := position + length) > end:
                position = self._on_payload(stream_id, data, position, length)
            else:  # as nearly always: a call for each frame less
                if length and (stream := streams.get(stream_id)):
                    stream.receive(data[position:stop])
                else:
                    self.note_vain()
                position = stop
        if position < end:
            self._cut += data[position:]

    def _complete_cut(self, data: memoryview) -> memoryview:
        """Complete and parse the 8 bytes that the last read cut; return the rest of ``data``."""
        missing = HEADER_SIZE - len(self._cut)
        unit = bytes(self._cut) + data[:missing]
        self._cut.clear()
        self._parse(memoryview(unit))
        return data[missing:]

    def _on_payload(self, stream_id: int, data: memoryview, start: int, length: int) -> int:
        """Deliver the part of ``length`` payload bytes that ``data`` holds from ``start``; return where it ends."""
        stop, end = start + length, len(data)
        if stop > end:
            self._payload_id, self._payload_left = stream_id, stop - end
            stop = end
        else:
            self._payload_left = 0
        stream = self.streams.get(stream_id)
        if stream is not None and stop > start:
            stream.receive(data[start:stop])
        return stop

    def _on_control(self, command: int, stream_id: int) -> None:
        if command == SYN:
            self._on_syn(stream_id)
        elif command == UPD:
            self._update_id = stream_id
        elif not (command == FIN and (stream := self.streams.get(stream_id)) and stream.receive_fin()):
            self.note_vain()

    def _on_other(self, version: int, command: int, stream_id: int) -> None:
        """Take a header that is none of the Go library's: it concerns a resumption, is a reset, or a mistake."""
        if version == self._version and command in {ACK, BYE, ASK} and self._handler.resumes:
            self._on_resumption(command, stream_id)
            return
        if (version, command) != (self._version, RST) or not self._handler.resets:
            self._reject(version, command)
        self._keepalive.received = True
        if stream := self.get(stream_id):
            self._handler.on_reset(stream)
        else:
            self.note_vain()

    def _on_resumption(self, command: int, count: int) -> None:
        self._keepalive.received = True
        self.received -= HEADER_SIZE
        if command == ACK:
            self._handler.on_ack(count)
        elif command == ASK:
            self._handler.on_ask()
        else:
            self._handler.on_bye()

    def _on_syn(self, stream_id: int) -> None:
        if self.orphans > self.settings.orphan_limit:
            self._flooded(_ORPHANED)
        if stream_id not in self.streams and len(self.streams) < self.settings.max_streams:
            self._handler.on_stream(self._add(stream_id))
            return
        self.note_vain()
        if stream_id not in self.streams and not self._refused:
            self._refused = True
            self._handler.on_refused(stream_id)

    def _on_update(self, stream_id: int, consumed: int, window: int) -> None:
        self._update_id = None
        if not ((stream := self.streams.get(stream_id)) and stream.receive_update(consumed, window)):
            self.note_vain()

    def _add(self, stream_id: int) -> Stream[S]:
        stream = self.streams[stream_id] = Stream(self, stream_id)
        return stream

    def _reject(self, version: int, command: int) -> NoReturn:
        """End the session because of a header that the Go library rejects as well."""
        if version == self._version:
            self._fail(f"peer sent the unknown smux command {command}: its bytes are damaged or not smux")
        if version in (1, 2):
            own = self._version
            self._fail(f"peer speaks smux version {version}, this end is set to {own} (mux_version)")
        self._fail(f"peer does not speak smux: its frame begins with byte {version}")

    def _flooded(self, text: str) -> NoReturn:
        error = FloodError(text)
        self.close(error)
        raise error

    def _fail(self, text: str) -> NoReturn:
        error = SmuxError(text)
        self.close(error)
        raise error
