"""A tunnel of transport udp on the public end: an address of a client, and the far end of the flow that it carries."""

import asyncio
import math
from typing import TYPE_CHECKING, Final, Protocol

from backhaul.net.endpoints import Address
from backhaul.net.udp import Counters, DatagramQueue
from backhaul.relay.flows import Flow
from backhaul.wire.announcements import IDLE
from backhaul.wire.datagrams import Batch

from .udp_dialect import Assigned, ServerDialect

if TYPE_CHECKING:
    from backhaul.relay.resources import Timekeeper


_KEPT: Final = 1 << 14  # bytes: the beginning of WireGuard, of DNS, or of QUIC with all repeats
_UNCOUNTED: Final = Counters()  # lost copies are no lost datagrams


class TunnelOwner(Protocol):
    """The tunnels of one client."""

    def transmit(self, batch: Batch, address: Address) -> None:
        """Send to the client."""

    def replace(self, flow: Flow) -> "Tunnel | None":
        """Move a flow from a tunnel that leads nowhere to another one, and return that; None if none is idle.

        It may be ended instead.
        """

    def forget(self, tunnel: "Tunnel") -> None:
        """Forget a closed tunnel."""


class Tunnel:
    """An address of the client; once it is assigned, the far end of a flow."""

    __slots__ = (
        "_alive_at", "_assigned", "_confirmed", "_loop", "_patience", "_timekeeper", "_unanswered", "_unconfirmed",
        "address", "flow", "name", "order", "owner",
    )  # fmt: skip

    def __init__(
        self, owner: TunnelOwner, timekeeper: "Timekeeper", name: bytes, address: Address, order: int = 0
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timekeeper = timekeeper
        self._alive_at = self._loop.time()
        self._assigned: Assigned  # if there is a flow
        self._confirmed = False  # until then the assignment is repeated before every batch
        self._unconfirmed = DatagramQueue(_UNCOUNTED, _KEPT)  # sent since then
        self._unanswered = 0.0  # time since which the user has been sending without a sign of life; 0 after one
        self._patience = timekeeper.patience.sign_of_life  # seconds
        self.owner = owner
        self.name = name  # empty if the client is v0.7.2
        self.address = address
        self.order = order  # of the announcement that told the address
        self.flow: Flow | None = None

    @property
    def number(self) -> int:
        """The number of its assignment."""
        return self._assigned.line.number if self.flow else IDLE

    @property
    def silent(self) -> bool:
        """True if the client has given no sign of life for so long that the address may be another client's by now."""
        return self._loop.time() - self._alive_at > self._timekeeper.patience.sign_of_life

    def assign(self, flow: Flow, dialect: ServerDialect, *, again: bool = False) -> None:
        """Become the far end of ``flow``; ``again`` if it had another tunnel, without a sign of life."""
        self.flow = flow
        self._assigned = dialect.assign(self.name, flow.target, flow.counters)
        if again and not self._may_be_forgotten():  # a flow that is never answered, as some are, moves only once
            self._unanswered = math.inf
        flow.attach(self)

    def received(self, batch: Batch) -> None:
        """Pass datagrams of the client to the user, except messages about the tunnel."""
        answers = self._assigned.line.open(batch, self.address)
        if answers and self.flow:
            self.alive(confirmed=True)
            self.flow.from_far(answers)

    def alive(self, *, confirmed: bool) -> None:
        """Note a sign of life of the client; with ``confirmed`` it has received the assignment."""
        self._unanswered = 0.0
        self._alive_at = self._loop.time()
        if not self.name:
            self._patience = self._timekeeper.patience.sign_of_life_v072
        if confirmed and not self._confirmed:
            self._confirm()

    def send_again(self) -> None:
        """Send what the client has not confirmed to the address that it has now."""
        if batch := self._unconfirmed.take():
            self.send(batch)

    def leave(self) -> None:
        """Move an unconfirmed flow to an idle tunnel, if there is one, with all that was sent."""
        if self.flow and not self._confirmed and (other := self.owner.replace(self.flow)):
            other.send(self._unconfirmed.take())

    def excuse(self) -> None:
        """Wait again for a sign of life, because the client could give none without a control channel."""
        if self._unanswered < math.inf:
            self._unanswered = 0.0

    def distrust(self) -> None:
        """Wait for a sign of life for a short time only: another process of the client, or v0.7.2 again, has connected.

        The first one may still serve its flows until it stops; v0.7.2 has closed its tunnels.
        """
        self._unanswered = self._loop.time()
        self._patience = self._timekeeper.patience.replaced

    def send(self, batch: Batch) -> None:
        """Send a user's datagrams to the client; move the flow to another tunnel if this one leads nowhere."""
        now = self._loop.time()
        if not self._unanswered:
            self._unanswered = now
            if self._may_be_forgotten():
                self._patience = self._timekeeper.patience.forgotten_reply
        elif now - self._unanswered > self._patience and self.flow and (other := self.owner.replace(self.flow)):
            other.send([*self._unconfirmed.take(), *batch])
            return
        if not self._confirmed:
            self._assigned.line.send_message(self._assigned.message(), self._transmit)
            if self.name:
                self._unconfirmed.send(batch)
            else:  # v0.7.2 would pass a second one on to the target
                self._confirm()
        self._assigned.line.send(batch, self._transmit)

    def close(self) -> None:
        """Give up the address, because the flow has ended."""
        self.flow = None
        self.owner.forget(self)

    def doubt(self) -> None:
        """Expect a sign of life from now on, even if the flow has moved once: it will not move to another tunnel."""
        self._unanswered = self._unanswered and self._loop.time()

    def end(self) -> None:
        """Close the tunnel, because the client has left its address."""
        if self.flow:
            self.flow.close()
        else:
            self.owner.forget(self)

    def _transmit(self, batch: Batch) -> None:
        """Send datagrams of the flow, or a copy of them, unless it has ended."""
        if self.flow:
            self.owner.transmit(batch, self.address)

    def _confirm(self) -> None:
        self._confirmed = True
        self._unconfirmed.close()

    def _may_be_forgotten(self) -> bool:
        """Return whether the client has been silent for so long that a NAT may have dropped its mapping.

        Any other client would announce the tunnel; without an announcement it has left.
        """
        return not self.name and self._loop.time() - self._alive_at > self._timekeeper.patience.forgotten
