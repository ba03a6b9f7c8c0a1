"""Tunnels of transport udp in a protected session: sealed announcements and assignments, and sealed lines if asked for.

Importing this module loads ``cryptography``; see ``security/records.py``.
"""

import functools
import itertools
import secrets
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Final

from backhaul.net.endpoints import Address
from backhaul.net.udp import Counters
from backhaul.relay.copies import Copies, Transmit
from backhaul.security.datagrams import OVERHEAD, DatagramOpener, DatagramSealer
from backhaul.security.session import SessionKeys
from backhaul.wire.announcements import (
    ANNOUNCEMENT_SIZES,
    BLOCK_BITS,
    MAX_PADDING,
    Announcement,
    Assignment,
    announce,
    assign,
    assignment_sizes,
    block_of,
    read_announcement,
    read_assignment,
)
from backhaul.wire.datagrams import MAX_PAYLOAD, Batch

from .udp_dialect import Announced, Announcing, Assigned, BareLine, Line, Messages, Received

Seals = tuple[DatagramSealer, DatagramOpener]
"""The keys of both directions."""

_LINE: Final = Struct("!8sQ")
_MOST: Final = MAX_PAYLOAD - OVERHEAD


class SealedLine:
    """Carries each datagram sealed, several times if ``copies`` says so; drops and counts those it can't open."""

    __slots__ = ("_copies", "_counters", "_messages", "_opener", "_sealer", "number")

    def __init__(self, messages: Messages, number: int, seals: Seals, counters: Counters, copies: Copies) -> None:
        self._messages = messages
        self._sealer, self._opener = seals
        self._counters = counters
        self._copies = copies
        self.number = number

    def send(self, batch: Batch, transmit: Transmit) -> None:
        """Send the datagrams, sealed, and copies of them later."""
        self._transmit(self._sealed(batch), transmit)

    def send_message(self, message: bytes, transmit: Transmit) -> None:
        """Send the message, which is sealed, and copies of it later."""
        self._transmit([message], transmit)

    def _transmit(self, sealed: Batch, transmit: Transmit) -> None:
        transmit(sealed)
        if self._copies.count > 1:
            self._copies.repeat(sealed, transmit)

    def _sealed(self, batch: Batch) -> Batch:
        """Return the datagrams, sealed; one that is too large then is dropped and counted."""
        seal = self._sealer.seal
        sealed = [seal(datagram) for datagram in batch if len(datagram) <= _MOST]
        self._counters.dropped += len(batch) - len(sealed)
        return sealed

    def open(self, batch: Batch, address: Address) -> Batch:
        """Return what was sealed."""
        opened: list[bytes | memoryview] = []
        unseal = self._opener.open
        for datagram in batch:
            payload = unseal(datagram)
            if payload is not None:
                opened.append(payload)
            elif not self._opener.spent(datagram) and not self._take(datagram, address):
                self._counters.dropped += 1
        return opened

    def _take(self, datagram: bytes | memoryview, address: Address) -> bool:
        return len(datagram) in self._messages.sizes and self._messages.take(datagram, address)


class ProtectedServer:
    """A client that announces its tunnels repeatedly, and is told their target until it confirms that."""

    sizes = range(ANNOUNCEMENT_SIZES.start + OVERHEAD, ANNOUNCEMENT_SIZES.stop + OVERHEAD)

    def __init__(
        self,
        keys: SessionKeys,
        order: int,
        announced: Announced,
        messages: Messages,
        *,
        copies: Copies,
        enter_blocks: Callable[[Iterable[int], Announcing], None],
    ) -> None:
        """Use an ``order`` that is higher than all of the session before; ``messages`` is as for ``V072Server``.

        ``enter_blocks`` learns of the blocks in which the numbers of announcements may lie, a whole block in advance.
        """
        self._keys = keys
        self._order = order
        self._announced = announced
        self._messages = messages
        self._copies = copies
        self._enter_blocks = enter_blocks
        self._sealer, self._opener = _seals(keys, b"announcements")
        self._numbers = itertools.count(1)
        self._block = -1  # the highest one with an authentic announcement
        self._reach(0)

    def introduce(self, datagram: bytes | memoryview, address: Address) -> None:
        """Report the tunnel of a fresh announcement; a repeat is not even decrypted."""
        if len(datagram) in self.sizes and self._opener.fresh(self._opener.number(datagram)):
            self.take(datagram, address)

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Report the tunnel of an announcement, unless it is a repeat; return False for anything else."""
        if len(datagram) not in self.sizes:
            return False
        number = self._opener.number(datagram)
        message = self._opener.decrypt(number, datagram)
        if message is None:
            return False
        self._reach(number >> BLOCK_BITS)
        if self._opener.use(number) and (announcement := read_announcement(message)):
            self._announced.announced(announcement, self._order | number, address)
        return True

    def _reach(self, block: int) -> None:
        """Enter this block, the next one, and for late announcements the previous one."""
        if block > self._block:
            self._block = block
            near = range(max(0, block - 1), block + 2)
            self._enter_blocks((block_of(self._opener.masked(one << BLOCK_BITS)) for one in near), self)

    def assign(self, tunnel: bytes, target: str, counters: Counters) -> Assigned:
        """Assign a tunnel, with a message that is sealed again each time."""
        assignment = Assignment(tunnel, next(self._numbers), target)
        line = _line(self._keys, assignment, self._messages, counters, self._copies)
        return Assigned(line, functools.partial(self._message, assignment))

    def _message(self, assignment: Assignment) -> bytes:
        return self._sealer.seal(assign(assignment, _padding()))


class ProtectedClient:
    """A server that expects announcements of all tunnels, and assigns them."""

    repeats = True

    def __init__(self, keys: SessionKeys, copies: Copies) -> None:
        self._keys = keys
        self._copies = copies
        self._sealer, self._opener = _seals(keys, b"announcements")

    def announce(self, tunnel: bytes, number: int) -> Batch:
        """Return an announcement."""
        return [self._sealer.seal(announce(Announcement(tunnel, number), _padding()))]

    def read(self, tunnel: bytes, datagram: bytes | memoryview, counters: Counters) -> Received | None:
        """Return the assignment in a fresh message; None if it names another tunnel."""
        if len(datagram) < OVERHEAD or not self._opener.fresh(number := self._opener.number(datagram)):
            return None
        message = self._opener.decrypt(number, datagram)
        assignment = read_assignment(message) if message else None
        if not assignment or assignment.tunnel != tunnel:
            return None
        self._opener.use(number)
        repeats = _Assignments(self._opener, assignment.target)
        return Received(_line(self._keys, assignment, repeats, counters, self._copies), assignment.target)


class _Assignments:
    """Finds assignments that the server has sent before it heard of the confirmation."""

    def __init__(self, opener: DatagramOpener, target: str) -> None:
        self._opener = opener
        sizes = assignment_sizes(target)
        self.sizes = range(sizes.start + OVERHEAD, sizes.stop + OVERHEAD)

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Return whether a datagram is an assignment."""
        del address
        return self._opener.decrypt(self._opener.number(datagram), datagram) is not None


def _line(keys: SessionKeys, assignment: Assignment, messages: Messages, counters: Counters, copies: Copies) -> Line:
    if not keys.payload:
        return BareLine(messages, assignment.number)
    seals = _seals(keys, b"tunnel" + _LINE.pack(assignment.tunnel, assignment.number))
    return SealedLine(messages, assignment.number, seals, counters, copies)


def _seals(keys: SessionKeys, label: bytes) -> Seals:
    sends, receives = keys.datagrams(label)
    return DatagramSealer(sends, keys.cipher), DatagramOpener(receives, keys.cipher)


def _padding() -> int:
    return secrets.randbelow(MAX_PADDING + 1)
