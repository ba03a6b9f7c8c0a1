"""Sessions whose bytes are records: sealed, or in clear in WebSocket messages.

This module loads ``cryptography``; it is imported when the first peer needs it.
"""

import functools
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from backhaul.net.buffers import shared_buffer
from backhaul.net.freezing import SMALL, YOUNG
from backhaul.security import kinds
from backhaul.security.records import KIND_SIZE, MAX_BODY, TAG_SIZE, RecordError, Sealer
from backhaul.wire.peer import Peer
from backhaul.wire.smux import Role, Settings
from backhaul.wire.websocket import WebSocketError

from .altered import AlteredError
from .link import Link
from .owner import LinkOwner
from .records import MAX_HEADER, Records, Take
from .sender import Outlet, Sender, SenderOwner
from .stall import StallDetector
from .targets import CLEAR, Targets

if TYPE_CHECKING:
    from .resources import LinkResources, SenderResources

_MAX_UNSENT_ANSWERS: Final = 1 << 16  # bytes: a peer that pings and does not read gets no more answers
_SEALED: Final = shared_buffer(MAX_HEADER + KIND_SIZE + MAX_BODY + TAG_SIZE)  # each record is sent or kept at once

MakeRecords: TypeAlias = Callable[[Take], Records]


class RecordSender(Sender):
    """A sender of records, with bytes in between that belong to none."""

    __slots__ = ("_records",)

    def __init__(
        self,
        owner: SenderOwner,
        relay: "SenderResources",
        conn: socket.socket,
        stall: StallDetector,
        *,
        records: Records,
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
        self.transmit_frames(memoryview(message), MAX_HEADER, len(message))

    def transmit_frames(self, memory: memoryview, start: int, end: int) -> None:
        """Send frames in ``memory``, with room for the header before them."""
        super().transmit(memory[self._records.put_header(memory, start, end - start) : end])


class SealedSender(RecordSender):
    """A sender that seals before it sends or keeps, so that records have their numbers in the order of the line."""

    __slots__ = ("_sealer", "_young")

    def __init__(
        self,
        owner: SenderOwner,
        relay: "SenderResources",
        conn: socket.socket,
        stall: StallDetector,
        *,
        records: Records,
        sealer: Sealer,
    ) -> None:
        super().__init__(owner, relay, conn, stall, records=records)
        self._sealer = sealer
        self._young = YOUNG

    def transmit(self, data: memoryview | bytes) -> None:
        """Send control frames, which are few enough to be copied."""
        plain = bytearray(KIND_SIZE)
        plain += data
        self._seal(memoryview(plain))

    def transmit_frames(self, memory: memoryview, start: int, end: int) -> None:
        """Send frames in ``memory``; the kind of the record takes the place of the byte before them."""
        self._seal(memory[start - KIND_SIZE : end])

    def _seal(self, plain: memoryview) -> None:
        """Send ``plain`` without its first byte, where each kind gets a place for a moment."""
        while len(plain) > KIND_SIZE:
            body = SMALL if self._young > 0 else MAX_BODY
            piece = plain[: KIND_SIZE + body]
            self._young -= len(piece)
            before, piece[0] = piece[0], kinds.DATA
            size = len(piece) + TAG_SIZE
            end = MAX_HEADER + size
            self._sealer.seal_into(piece, _SEALED[MAX_HEADER:end])
            piece[0] = before
            super().transmit(_SEALED[self._records.put_header(_SEALED, MAX_HEADER, size) : end])
            plain = plain[body:]


class RecordLink(Link):
    """A session whose bytes are records. ``make_records`` and ``make_sender`` decide about their form."""

    __slots__ = ("_records",)

    def __init__(
        self,
        relay: "LinkResources",
        conn: socket.socket,
        role: Role,
        settings: Settings,
        owner: LinkOwner,
        *,
        peer: Peer,
        make_records: MakeRecords,
        make_sender: Callable[..., Outlet],
        targets: Targets = CLEAR,
    ) -> None:
        self._records = make_records(self._take_data)
        sender = functools.partial(make_sender, records=self._records)
        super().__init__(relay, conn, role, settings, owner, peer=peer, make_sender=sender, targets=targets)
        self._parse = self._parse_records
        self._records.deliver = self.session.feed

    def passed(self) -> None:
        """Answer the proxies in between."""
        super().passed()
        if self._records.answers and not self.closed:
            self._answer()

    def _answer(self) -> None:
        answers, self._records.answers = self._records.answers, b""
        if self.sender.unsent < _MAX_UNSENT_ANSWERS:
            self.sender.transmit_clear(answers)
        if self._records.closed:
            self.lost("the peer closed it")

    def _parse_records(self, data: memoryview) -> None:
        try:
            self._records.feed(data)
        except (RecordError, WebSocketError) as error:
            raise AlteredError(str(error)) from None
        if self._records.unfinished or self._counted:
            self.weigh()
        if self._records.answers:
            self.milestone = 0

    @property
    def _unfinished(self) -> int:
        return self._records.unfinished

    def _take_data(self, data: memoryview) -> None:
        self.session.feed(data)
