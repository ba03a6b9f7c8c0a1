"""Relays of users with rates. Those of all other users have no code for rates, which cost them nothing."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Final

from backhaul.net.pipes import PIPE_SIZE
from backhaul.net.udp import Counters
from backhaul.wire.datagrams import Batch

from .backlog import Backlog
from .budget import ANYBODY
from .direction import Direction
from .flows import DatagramEnd, Flow, FlowTable
from .framed import FramedRelay
from .half_close import Side
from .outcome import Done
from .pair import End, Pair
from .rates import Allowance, Rate, RatedTraffic, Turn
from .spliced import Load, SplicedRelay
from .traffic import Traffic

if TYPE_CHECKING:
    from .resources import PairResources


class RatedFramedRelay(FramedRelay):
    """A user's socket with rates, joined with a framed channel.

    It has no slots, because those of two bases would be in each other's place.
    """

    def _prepare(self, traffic: Traffic) -> None:
        super()._prepare(traffic)
        assert isinstance(traffic, RatedTraffic)  # noqa: S101 - see kind_of
        self._reads = Turn(traffic.rates.received, self._turn_to_read)
        self._writes = Turn(traffic.rates.sent, self._turn_to_write)

    def readable(self) -> None:
        """Read from the socket, unless a rate forbids it."""
        if self._reads.taken():
            super().readable()
        else:
            self._relay.poller.ignore_readable(self._sock)

    def _go_on(self) -> None:
        if self._reads.taken():
            super()._go_on()

    def _turn_to_read(self) -> None:
        if not self.closed and self._side not in self._state.ended:
            self._relay.poller.on_readable(self._sock, self.readable)
            self._attempt(self.readable)

    def _read(self, limit: int) -> None:
        super()._read(min(limit, self._reads.portion))

    def _took(self, count: int) -> None:
        super()._took(count)
        self._reads.spend(count)

    def _write(self, pieces: Sequence[memoryview]) -> int:
        return super()._write(_first(pieces, self._writes.portion)) if self._writes.taken() else 0

    def _send(self, backlog: Backlog) -> int:
        return backlog.send_some(self._sock, self._writes.portion)

    def _writable(self) -> None:
        if self._writes.taken():
            super()._writable()
        else:
            self._relay.poller.ignore_writable(self._sock)

    def _turn_to_write(self) -> None:
        if not self.closed:
            self._relay.poller.on_writable(self._sock, self._writable)
            self._attempt(self._writable)

    def _count(self, sent: int) -> None:
        super()._count(sent)
        self._writes.spend(sent)


class RatedSplicedRelay(RatedFramedRelay, SplicedRelay):
    """A user's socket with rates, joined with a channel of blocks."""

    def _read(self, limit: int) -> None:
        if self._reads.portion < PIPE_SIZE:  # a pipe would take more than one turn allows
            self._bulk = False
        super()._read(limit)

    def _pour(self) -> None:
        if self._writes.taken():
            super()._pour()

    def _take_from(self, load: Load) -> int:
        return load.pour(self._sock, self._writes.portion)


class RatedDirection(Direction):
    """One direction between two sockets, with rates."""

    __slots__ = ("_turn",)

    def limit(self, rates: tuple[Rate, ...]) -> None:
        """Use these rates."""
        self._turn = Turn(rates, self._turn_to_read)

    @property
    def most(self) -> int:
        """The most bytes to copy at once."""
        return min(super().most, self._turn.portion)

    def readable(self) -> None:
        """Read once from the source, unless a rate forbids it."""
        if self._turn.portion < PIPE_SIZE:
            self._bulk = False
        if self._turn.taken():
            super().readable()
        else:
            self.pair.relay.poller.ignore_readable(self.source)

    def count(self, count: int) -> None:
        """Count bytes of the source."""
        super().count(count)
        self._turn.spend(count)

    def _turn_to_read(self) -> None:
        if not (self.pair.closed or self.stalled or self.side in self.pair.state.ended):
            self.pair.relay.poller.on_readable(self.source, self.readable)
            self.pair.relay.poller.run(self.source, self.readable)


class RatedPair(Pair):
    """Two joined sockets of a user with rates."""

    __slots__ = ()

    def __init__(self, relay: "PairResources", near: End, far: End, traffic: Traffic, done: Done | None) -> None:
        super().__init__(relay, near, far, traffic, done)
        assert isinstance(traffic, RatedTraffic)  # noqa: S101 - see pair_of
        self.to_far = self._limited(Side.USER, near, far, traffic)
        self.to_near = self._limited(Side.TARGET, far, near, traffic)
        self.latest = self.to_far

    def _limited(self, side: Side, source: End, sink: End, traffic: RatedTraffic) -> Direction:
        rates = traffic.rates.received if side is Side.USER else traffic.rates.sent
        meter = traffic.received if side is Side.USER else traffic.sent
        direction = RatedDirection(self, side, source.sock, sink.sock, meter, hasty=not source.half_close)
        direction.limit(rates)
        return direction


class RatedFlow(Flow):
    """The datagrams of a user with rates, which are dropped beyond these."""

    __slots__ = ("_from_far", "_from_near")

    def __init__(
        self,
        table: FlowTable,
        near: DatagramEnd,
        target: str,
        traffic: Traffic,
        counters: Counters,
        *,
        source: Hashable = "",
        owner: Hashable = ANYBODY,
    ) -> None:
        assert isinstance(traffic, RatedTraffic)  # noqa: S101 - see flow_of
        self._from_near = Allowance(traffic.rates.received)
        self._from_far = Allowance(traffic.rates.sent)
        super().__init__(table, near, target, traffic, counters, source=source, owner=owner)

    def from_near(self, batch: Batch) -> None:
        """Pass on datagrams of the user."""
        if self._may_pass(self._from_near, batch):
            super().from_near(batch)

    def from_far(self, batch: Batch) -> None:
        """Pass on datagrams of the target."""
        if self._may_pass(self._from_far, batch):
            super().from_far(batch)

    def _may_pass(self, allowance: Allowance, batch: Batch) -> bool:
        if allowance.spend(sum(map(len, batch))):
            return True
        self.counters.dropped += len(batch)
        return False


def _first(pieces: Sequence[memoryview], most: int) -> Sequence[memoryview]:
    """Return the first ``most`` bytes of ``pieces``."""
    if sum(map(len, pieces)) <= most:
        return pieces
    found: list[memoryview] = []
    for piece in pieces:
        found.append(piece[:most])
        most -= len(found[-1])
        if not most:
            break
    return found


_RATED: Final[dict[type[FramedRelay], type[FramedRelay]]] = {
    FramedRelay: RatedFramedRelay,
    SplicedRelay: RatedSplicedRelay,
}


def kind_of(kind: type[FramedRelay], traffic: Traffic) -> type[FramedRelay]:
    """Return the kind of relay for a user with this traffic, who would have ``kind`` without rates."""
    return _RATED[kind] if isinstance(traffic, RatedTraffic) else kind


def pair_of(traffic: Traffic) -> type[Pair]:
    """Return the kind of pair for a user with this traffic."""
    return RatedPair if isinstance(traffic, RatedTraffic) else Pair


def flow_of(traffic: Traffic) -> type[Flow]:
    """Return the kind of flow for a user with this traffic."""
    return RatedFlow if isinstance(traffic, RatedTraffic) else Flow
