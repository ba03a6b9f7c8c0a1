"""Connections with which a client resumes sessions, on the server."""

import logging
from typing import TYPE_CHECKING, Protocol

from backhaul.errors import TransportError
from backhaul.mux.greeting import Answer, encode_answer, first_reader, frame, read_greeting
from backhaul.mux.link import Link
from backhaul.mux.owner import LinkOwner
from backhaul.mux.resumable_link import ResumableLink
from backhaul.net.closing import release
from backhaul.net.poller import WOULD_BLOCK
from backhaul.net.sending import send_whole
from backhaul.security import kinds
from backhaul.security.records import Record
from backhaul.transports.connection import SealedConnection
from backhaul.wire.smux import Role

from .links import make_line

if TYPE_CHECKING:
    from backhaul.net.deadlines import Deadlines

    from .resources import ReturnResources

log = logging.getLogger("backhaul.mux")

_READ_SIZE = 1 << 12


class ReturnOwner(LinkOwner, Protocol):
    """The transport that takes the sessions."""

    def link_resumed(self, link: Link) -> None:
        """Learn that one of its sessions has another connection."""


class Returning:
    """A connection until it has named its session; there is no such session if this process has just started."""

    def __init__(
        self,
        relay: "ReturnResources",
        connection: SealedConnection,
        owner: ReturnOwner,
        waiting: "Deadlines[Returning]",
        *,
        messages: bool,
    ) -> None:
        self._relay = relay
        self._connection = connection
        self._owner = owner
        self._waiting = waiting
        self._messages = messages
        self._reader = first_reader(connection.seals.opener, messages=messages, masked=True)

    def start(self) -> None:
        """Begin to read; close the connection if it can't be watched."""
        connection = self._connection
        self._waiting.add(self)
        try:
            self._relay.poller.own(connection.sock, self._readable, self)
        except OSError:  # ENOSPC, ENOMEM: epoll_ctl(2)
            self.abort()
            return
        if connection.received:
            self._feed(connection.received)

    def abort(self) -> None:
        """Close the connection."""
        self._waiting.discard(self)
        release(self._relay.poller, self._connection.sock)

    def _readable(self) -> None:
        try:
            data = self._connection.sock.recv(_READ_SIZE)
        except WOULD_BLOCK:
            return
        except OSError:
            data = b""
        if data:
            self._feed(data)
        else:
            self.abort()

    def _feed(self, data: bytes) -> None:
        try:
            if record := self._reader.feed(data):
                self._resume(record)
        except TransportError as error:
            self._relay.complaints.warn("resume", f"closed a connection that resumes a session: {error}")
            self.abort()

    def _resume(self, record: Record) -> None:
        greeting, connection = read_greeting(record), self._connection
        link = self._relay.resumption.links.get((connection.peer.name, greeting.identity))
        if not isinstance(link, ResumableLink) or not link.kept:
            self._say_gone()
        elif greeting.epoch <= link.epoch:
            self.abort()  # a later one has arrived first
        else:
            link.epoch = greeting.epoch
            if not link.parked:
                link.part()
            self._move(link, greeting.received, record.rest)

    def _move(self, link: ResumableLink, received: int, rest: bytes) -> None:
        answer = Answer(link.settle_position(), max(received, link.acknowledged))
        first = self._frame(kinds.RESUMED, encode_answer(answer))
        line = make_line(self._connection, Role.CLIENT, messages=self._messages)
        self._waiting.discard(self)
        link.move(line, received=received, start=answer.received, first=first, rest=rest)
        resumed = not (link.closed or link.parked)
        if resumed and link.owner is self._owner:  # others were left at a reload, with their users
            self._owner.link_resumed(link)

    def _say_gone(self) -> None:
        sock, gone = self._connection.sock, self._frame(kinds.GONE, b"")
        self._relay.poller.forget(sock)
        send_whole(self._relay.poller, sock, gone, self.abort, lambda _error: self.abort())

    def _frame(self, kind: int, body: bytes) -> bytes:
        return frame(self._connection.seals, kind, body, messages=self._messages, masked=False)
