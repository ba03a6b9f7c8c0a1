"""Sessions between two ends of this program: all of their bytes sealed, or only the targets of their streams.

On transports with WebSocket their bytes are in messages, in either case.

This module loads ``cryptography``; it is imported when the first peer needs it.
"""

import functools
import random
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from backhaul.net.buffers import shared_buffer
from backhaul.relay.channel import OUT
from backhaul.security import kinds
from backhaul.security.records import KIND_SIZE, MAX_BODY, TAG_SIZE, Opener, RecordError, Sealer, Seals
from backhaul.wire.peer import Peer
from backhaul.wire.smux import Role, Settings, SmuxError
from backhaul.wire.strings import StringReader, StringTooLongError, encode_string
from backhaul.wire.targets import MAX_TARGET
from backhaul.wire.websocket import WebSocketError

from .altered import AlteredError
from .link import Link, LinkOwner, TargetReader
from .records import MAX_HEADER, ClearMessages, Records, Take
from .sender import Sender, SenderOwner
from .stall import StallDetector

if TYPE_CHECKING:
    from backhaul.relay.engine import Relay

    from .sink import TunnelStream

_MAX_UNSENT_ANSWERS: Final = 1 << 16  # bytes: a peer that pings and does not read gets no more answers
_SEALED: Final = shared_buffer(MAX_HEADER + KIND_SIZE + MAX_BODY + TAG_SIZE)  # each record is sent or kept at once

MakeRecords: TypeAlias = Callable[[Opener, Take], Records]


class RecordSender(Sender):
    """A sender of records, with bytes in between that belong to none."""

    __slots__ = ("_records",)

    def __init__(
        self, owner: SenderOwner, relay: "Relay", conn: socket.socket, stall: StallDetector, *, records: Records
    ) -> None:
        super().__init__(owner, relay, conn, stall)
        self._records = records

    def transmit_clear(self, data: bytes) -> None:
        """Send bytes that belong to no record."""
        super().transmit(data)


class ClearSender(RecordSender):
    """A sender that puts frames into messages as they are."""

    __slots__ = ()

    def transmit(self, data: memoryview | bytes) -> None:
        """Send control frames, which are few enough to be copied."""
        message = bytearray(MAX_HEADER)
        message += data
        self._send_message(memoryview(message), MAX_HEADER, len(message))

    def transmit_frames(self, start: int, end: int) -> None:
        """Send frames in the shared buffer, with room for the header before them."""
        self._send_message(OUT, start, end)

    def _send_message(self, memory: memoryview, start: int, end: int) -> None:
        super().transmit(memory[self._records.put_header(memory, start, end - start) : end])


class SealedSender(RecordSender):
    """A sender that seals before it sends or keeps, so that records have their numbers in the order of the line."""

    __slots__ = ("_sealer",)

    def __init__(
        self,
        owner: SenderOwner,
        relay: "Relay",
        conn: socket.socket,
        stall: StallDetector,
        *,
        records: Records,
        sealer: Sealer,
    ) -> None:
        super().__init__(owner, relay, conn, stall, records=records)
        self._sealer = sealer

    def transmit(self, data: memoryview | bytes) -> None:
        """Send control frames, which are few enough to be copied."""
        plain = bytearray(KIND_SIZE)
        plain += data
        self._seal(memoryview(plain))

    def transmit_frames(self, start: int, end: int) -> None:
        """Send frames in the shared buffer; the kind of the record takes the place of the byte before them."""
        self._seal(OUT[start - KIND_SIZE : end])

    def _seal(self, plain: memoryview) -> None:
        """Send ``plain`` without its first byte; of a long one the last byte sealed gives way to the next kind."""
        while len(plain) > KIND_SIZE:
            piece = plain[: KIND_SIZE + MAX_BODY]
            piece[0] = kinds.DATA
            size = len(piece) + TAG_SIZE
            end = MAX_HEADER + size
            self._sealer.seal_into(piece, _SEALED[MAX_HEADER:end])
            super().transmit(_SEALED[self._records.put_header(_SEALED, MAX_HEADER, size) : end])
            plain = plain[MAX_BODY:]


class RecordLink(Link):
    """A session whose bytes are records."""

    sender: RecordSender

    def __init__(
        self,
        relay: "Relay",
        conn: socket.socket,
        role: Role,
        settings: Settings,
        owner: LinkOwner,
        *,
        peer: Peer,
        records: Records,
        make_sender: Callable[..., RecordSender],
    ) -> None:
        self._records = records
        make_sender = functools.partial(make_sender, records=records)
        super().__init__(relay, conn, role, settings, owner, peer=peer, make_sender=make_sender)
        self._fresh = False  # its first bytes are a record: the connection was admitted by an earlier message

    def _take(self, data: memoryview) -> None:
        super()._take(data)
        if self._records.answers and not self.closed:
            self._answer()

    def _answer(self) -> None:
        answers, self._records.answers = self._records.answers, b""
        if self.sender.unsent < _MAX_UNSENT_ANSWERS:
            self.sender.transmit_clear(answers)
        if self._records.closed:
            self.end("the peer closed it")

    def _feed(self, data: memoryview) -> SmuxError | None:
        self.feeding = True
        try:
            self._records.feed(data)
        except SmuxError as error:
            return error
        except (RecordError, WebSocketError) as error:
            return AlteredError(str(error))
        finally:
            self.feeding = False
        return None

    def _take_record(self, kind: int, body: memoryview) -> None:
        if kind != kinds.DATA:
            raise RecordError(f"a record of kind {kind} in a session")
        self.session.feed(body)


class SealedLink(RecordLink):
    """A session all of whose bytes are sealed."""

    def __init__(
        self,
        relay: "Relay",
        conn: socket.socket,
        role: Role,
        settings: Settings,
        owner: LinkOwner,
        *,
        peer: Peer,
        seals: Seals,
        make_records: MakeRecords,
    ) -> None:
        records = make_records(seals.opener, self._take_record)
        make_sender = functools.partial(SealedSender, sealer=seals.sealer)
        super().__init__(relay, conn, role, settings, owner, peer=peer, records=records, make_sender=make_sender)


class SealedTargets:
    """The common part of sessions in clear, whose streams begin with sealed targets.

    The number of each is the id of its stream, because the client refuses some streams before it has read their
    targets. Streams are opened in the order of their ids, so a target that arrives twice or elsewhere can't be opened.
    """

    _sealer: Sealer
    _opener: Opener

    def announce(self, stream: "TunnelStream", target: bytes) -> None:
        """Begin a stream with its sealed target."""
        self._sealer.skip_to(stream.id)
        padded = kinds.pad(target, random.getrandbits(kinds.PADDING_BITS))
        stream.push(encode_string(self._sealer.seal(padded)))

    def target_reader(self, stream: "TunnelStream") -> TargetReader:
        """Return what reads the sealed target."""
        return _SealedTarget(self._opener, stream.id)


class SealedTargetsLink(SealedTargets, Link):
    """A session in clear in a byte stream."""

    def __init__(
        self,
        relay: "Relay",
        conn: socket.socket,
        role: Role,
        settings: Settings,
        owner: LinkOwner,
        *,
        peer: Peer,
        seals: Seals,
    ) -> None:
        super().__init__(relay, conn, role, settings, owner, peer=peer)
        self._sealer, self._opener = seals.sealer, seals.opener  # without the tuple around them
        self._fresh = False


class MessageLink(SealedTargets, RecordLink):
    """A session in clear in WebSocket messages."""

    def __init__(
        self,
        relay: "Relay",
        conn: socket.socket,
        role: Role,
        settings: Settings,
        owner: LinkOwner,
        *,
        peer: Peer,
        seals: Seals,
    ) -> None:
        self._sealer, self._opener = seals.sealer, seals.opener
        records = ClearMessages(self._take_record, masked=role is Role.SERVER)
        super().__init__(relay, conn, role, settings, owner, peer=peer, records=records, make_sender=ClearSender)


class _SealedTarget:
    """Reads the target of one stream."""

    __slots__ = ("_number", "_opener", "_reader")

    def __init__(self, opener: Opener, number: int) -> None:
        self._opener = opener
        self._number = number
        self._reader = StringReader(MAX_TARGET + kinds.MAX_PADDING + TAG_SIZE)

    def feed(self, data: memoryview) -> tuple[bytes, bytes] | None:
        """Return the target once it is complete, and the bytes after it. Raises AlteredError."""
        try:
            found = self._reader.feed(data)
            return found and (self._open(found[0]), found[1])
        except (RecordError, StringTooLongError) as error:
            raise AlteredError(f"the target of a stream can't be opened: {error}") from None

    def _open(self, sealed: bytes) -> bytes:
        self._opener.skip_to(self._number)
        return kinds.unpad(self._opener.open(sealed))
