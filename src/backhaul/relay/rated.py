"""Relays of users with rates. Those of all other users have no code for rates, which cost them nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from backhaul.net.pipes import PIPE_SIZE
from backhaul.wire.datagrams import Batch

from .direction import Direction
from .flows import Flow
from .framed import FramedRelay
from .half_close import Side
from .outcome import Done
from .pair import End, Pair
from .rates import Rate, RatedTraffic, Rates, Turn
from .spliced import SplicedRelay
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
        self._rates = traffic.rates
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
        super()._read(min(limit, self._rates.burst))

    def _took(self, count: int) -> None:
        super()._took(count)
        self._reads.spend(count)

    def _write(self, pieces: Sequence[memoryview]) -> int:
        return super()._write(pieces) if self._writes.taken() else 0

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
        if self._rates.burst < PIPE_SIZE:  # a pipe would take more than the rate allows at once
            self._bulk = False
        super()._read(limit)

    def _pour(self) -> None:
        if self._writes.taken():
            super()._pour()


class RatedDirection(Direction):
    """One direction between two sockets, with rates."""

    __slots__ = ("_rates", "_turn")

    def limit(self, rates: Rates, ways: tuple[Rate, ...]) -> None:
        """Use those of the rates that bound this direction."""
        self._rates = rates
        self._turn = Turn(ways, self._turn_to_read)

    def readable(self) -> None:
        """Read once from the source, unless a rate forbids it."""
        if self._rates.burst < PIPE_SIZE:
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
        direction.limit(traffic.rates, rates)
        return direction


class RatedFlow(Flow):
    """The datagrams of a user with rates, which are dropped beyond these."""

    __slots__ = ()

    def from_near(self, batch: Batch) -> None:
        """Pass on datagrams of the user."""
        assert isinstance(self.traffic, RatedTraffic)  # noqa: S101 - see flow_of
        if self._may_pass(self.traffic.rates.received, batch):
            super().from_near(batch)

    def from_far(self, batch: Batch) -> None:
        """Pass on datagrams of the target."""
        assert isinstance(self.traffic, RatedTraffic)  # noqa: S101 - as above
        if self._may_pass(self.traffic.rates.sent, batch):
            super().from_far(batch)

    def _may_pass(self, rates: tuple[Rate, ...], batch: Batch) -> bool:
        if not all(rate.free for rate in rates):
            self.counters.dropped += len(batch)
            return False
        for rate in rates:
            rate.spend(sum(map(len, batch)))
        return True


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
