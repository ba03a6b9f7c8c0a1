"""Tunnels of transport udp between two ends of this program whose session is not protected: tickets in clear."""

import functools
import hmac

from backhaul.net.endpoints import Address
from backhaul.net.udp import Counters
from backhaul.transports.auth import OwnTokens
from backhaul.transports.doors.raw import RawDoor
from backhaul.transports.session import ClientSession
from backhaul.wire.announcements import IDLE, TUNNEL_SIZE, Announcement
from backhaul.wire.datagrams import Batch
from backhaul.wire.signals import TICKET_SIZE

from .udp_dialect import UNNUMBERED, Announced, Assigned, BareLine, Messages, Received, Repeats, V072Client, V072Server

_SIZE = TICKET_SIZE + TUNNEL_SIZE + 1


class TicketServer:
    """A client that may show extensions at any time."""

    def __init__(self, v072: V072Server, session: ClientSession, announced: Announced, messages: Messages) -> None:
        self._v072 = v072
        self._session = session
        self._announced = announced
        self._messages = messages
        self.sizes = v072.sizes | {_SIZE}

    def introduce(self, datagram: bytes | memoryview, address: Address) -> None:
        """Report the tunnel that is announced."""
        if not self._take(datagram, address):
            self._v072.introduce(datagram, address)

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Report the tunnel that is announced; return False for anything else."""
        return self._take(datagram, address) or self._v072.take(datagram, address)

    def assign(self, tunnel: bytes, target: str, counters: Counters) -> Assigned:
        """Assign a tunnel."""
        if not tunnel:
            return self._v072.assign(tunnel, target, counters)
        message = self._session.ticket + target.encode()
        return Assigned(BareLine(self._messages, UNNUMBERED), functools.partial(bytes, message))

    def _take(self, datagram: bytes | memoryview, address: Address) -> bool:
        ticket = self._session.ticket
        if not ticket or len(datagram) != _SIZE or not hmac.compare_digest(datagram[:TICKET_SIZE], ticket):
            return False
        self._announced.announced(Announcement(bytes(datagram[TICKET_SIZE:-1]), datagram[-1]), 0, address)
        return True


class TicketClient:
    """A server with extensions."""

    repeats = True

    def __init__(self, door: RawDoor, tokens: OwnTokens) -> None:
        self._door = door
        self._v072 = V072Client(tokens)

    def announce(self, tunnel: bytes, number: int) -> Batch:
        """Return an announcement."""
        if not self._door.ticket:
            return self._v072.announce(tunnel, number)
        return [self._door.ticket + tunnel + bytes([number != IDLE])]

    def read(self, tunnel: bytes, datagram: bytes | memoryview, counters: Counters) -> Received | None:
        """Return the assignment."""
        ticket = self._door.ticket
        if not ticket:
            return self._v072.read(tunnel, datagram, counters)
        if not hmac.compare_digest(datagram[:TICKET_SIZE], ticket):
            return None
        return Received(BareLine(Repeats(bytes(datagram)), UNNUMBERED), str(datagram[TICKET_SIZE:], "utf-8", "replace"))
