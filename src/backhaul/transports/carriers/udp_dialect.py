"""The two ways in which tunnels of transport udp are announced, assigned and used, and the one of v0.7.2.

A dialect belongs to a session. A line belongs to an assigned tunnel and outlives the session. ``udp_protected.py`` has
those of a protected session.
"""

import functools
from collections.abc import Callable, Collection, Hashable
from typing import Final, NamedTuple, Protocol

from backhaul.net.endpoints import Address
from backhaul.net.udp import Counters
from backhaul.relay.copies import Transmit
from backhaul.transports.auth import OwnTokens
from backhaul.wire.announcements import IDLE, PING, Announcement
from backhaul.wire.datagrams import Batch

UNNUMBERED: Final = 1
"""The number of an assignment to v0.7.2, which knows of one for each tunnel."""


class Messages(Protocol):
    """Finds messages about tunnels among the datagrams of an assigned one."""

    @property
    def sizes(self) -> Collection[int]:
        """The sizes of messages: datagrams of any other size are none."""

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Act on a message; return False for a datagram of the flow."""


class Line(Protocol):
    """The datagrams of an assigned tunnel."""

    @property
    def number(self) -> int:
        """The number of the assignment."""

    def send(self, batch: Batch, transmit: Transmit) -> None:
        """Call ``transmit`` with the datagrams that carry those of ``batch``, perhaps again later."""

    def send_message(self, message: bytes, transmit: Transmit) -> None:
        """Call ``transmit`` with a message about the tunnel, as often as with datagrams."""

    def open(self, batch: Batch, address: Address) -> Batch:
        """Return the flow's datagrams that those of ``batch`` carry; act on messages about tunnels."""


class Assigned(NamedTuple):
    """A tunnel that the server has assigned, as the server uses it."""

    line: Line
    message: Callable[[], bytes]
    """Returns the datagram that assigns it, which may be another one each time."""


class Received(NamedTuple):
    """A tunnel that the server has assigned, as the client uses it."""

    line: Line
    target: str


class Announced(Protocol):
    """The tunnels that a server knows."""

    def announced(self, announcement: Announcement, order: int, address: Address) -> None:
        """Note that a tunnel is at this address; ``order`` is higher in each later announcement of the client."""

    def announced_unnamed(self, address: Address) -> None:
        """Note that a v0.7.2 client has an idle tunnel at this address."""


class Announcing(Messages, Hashable, Protocol):
    """The announcements of one client's session."""

    def introduce(self, datagram: bytes | memoryview, address: Address) -> None:
        """Report the tunnel that a datagram from an address without a flow announces, if it does."""


class ServerDialect(Announcing, Protocol):
    """The way in which one client announces its tunnels."""

    def assign(self, tunnel: bytes, target: str, counters: Counters) -> Assigned:
        """Assign a tunnel; ``counters`` are those of the flow."""


class ClientDialect(Protocol):
    """The way in which one server learns of tunnels."""

    @property
    def repeats(self) -> bool:
        """True if tunnels are to be announced repeatedly."""

    def announce(self, tunnel: bytes, number: int) -> Batch:
        """Return the datagrams that announce a tunnel with this assignment; maybe none, unless ``number`` is IDLE."""

    def read(self, tunnel: bytes, datagram: bytes | memoryview, counters: Counters) -> Received | None:
        """Return the assignment of an idle tunnel; None if ``datagram`` is something else."""


class BareLine:
    """Carries the datagrams as they are."""

    __slots__ = ("_messages", "number")

    def __init__(self, messages: Messages, number: int) -> None:
        self._messages = messages
        self.number = number

    def send(self, batch: Batch, transmit: Transmit) -> None:
        """Send ``batch``."""
        transmit(batch)

    def send_message(self, message: bytes, transmit: Transmit) -> None:
        """Send the message."""
        transmit([message])

    def open(self, batch: Batch, address: Address) -> Batch:
        """Return the datagrams that are no messages."""
        sizes, take = self._messages.sizes, self._messages.take
        if len(batch) == 1 and len(batch[0]) not in sizes:
            return batch
        return [datagram for datagram in batch if len(datagram) not in sizes or not take(datagram, address)]


class V072Server:
    """A client of v0.7.2 announces a tunnel with its token, once, and is told the target, once."""

    def __init__(self, sizes: Collection[int], announced: Announced, messages: Messages) -> None:
        """``sizes`` are those of tokens. ``messages`` finds those of others, too: an address may pass to them."""
        self._announced = announced
        self._messages = messages
        self.sizes = sizes

    def introduce(self, datagram: bytes | memoryview, address: Address) -> None:
        """Report a tunnel: only a token of this client gets here."""
        self.take(datagram, address)

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Report a tunnel, and return True: this is a token, which may arrive twice."""
        del datagram
        self._announced.announced_unnamed(address)
        return True

    def assign(self, tunnel: bytes, target: str, counters: Counters) -> Assigned:
        """Assign a tunnel with the bare target."""
        del tunnel, counters
        return Assigned(BareLine(self._messages, UNNUMBERED), functools.partial(str.encode, target))


class V072Client:
    """A v0.7.2 server takes the token for an announcement, and sends the target."""

    repeats = False

    def __init__(self, tokens: OwnTokens) -> None:
        self._tokens = tokens

    def announce(self, tunnel: bytes, number: int) -> Batch:
        """Return the token; the server does not hear of assigned tunnels."""
        del tunnel
        return [self._tokens.current] if number == IDLE else []

    def read(self, tunnel: bytes, datagram: bytes | memoryview, counters: Counters) -> Received | None:
        """Take everything but a ping for a target."""
        del tunnel, counters
        if datagram == PING:
            return None
        return Received(BareLine(Repeats(bytes(datagram)), UNNUMBERED), str(datagram, "utf-8", "replace"))


class Repeats:
    """Finds datagrams that repeat the one with the target."""

    def __init__(self, first: bytes) -> None:
        self._first = first
        self.sizes = frozenset({len(first)})

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Return whether a datagram is a repeat."""
        del address
        return datagram == self._first
