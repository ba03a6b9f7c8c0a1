"""What has become of the users of each target, for a bounded number of targets: integers."""

from collections import OrderedDict
from collections.abc import Iterator

from backhaul.relay.traffic import Meter, Traffic
from backhaul.state import TargetState

_LOOKED_AT = 16  # of the targets not used for longest: those in use are passed over


class TargetCounters:
    """What has happened to the users of one target."""

    __slots__ = ("dropped", "flows", "open", "refused", "total", "traffic")

    def __init__(self) -> None:
        self.traffic = Traffic(Meter(), Meter())
        self.open = 0  # users connected now
        self.flows = 0  # users of datagrams now
        self.total = 0  # users since the start, but those of datagrams
        self.dropped = 0  # users for whom the target could not be reached
        self.refused = 0  # users who were not let through to it

    @property
    def in_use(self) -> bool:
        """Whether its numbers may still grow by what is there now."""
        return bool(self.open or self.flows)

    def state(self, target: str) -> TargetState:
        """Return what has happened to the users of this target."""
        return TargetState(
            target=target,
            open=self.open,
            total=self.total,
            refused=self.refused,
            dropped=self.dropped,
            received=self.traffic.received.bytes,
            sent=self.traffic.sent.bytes,
            flows=self.flows,
        )

    def user_came(self) -> None:
        """A user is connected with the target."""
        self.total += 1
        self.open += 1

    def user_closed(self) -> None:
        """A user of this target is gone."""
        self.open -= 1

    def flow_came(self) -> None:
        """A user's datagrams go to the target."""
        self.flows += 1

    def flow_closed(self) -> None:
        """A user's datagrams come no more."""
        self.flows -= 1

    def absorb(self, other: "TargetCounters") -> None:
        """Add the numbers of a target that is not in use."""
        self.total += other.total
        self.dropped += other.dropped
        self.refused += other.refused
        self.traffic.received.bytes += other.traffic.received.bytes
        self.traffic.sent.bytes += other.traffic.sent.bytes


class TargetBook:
    """The counters of at most `most` targets: a server may name as many as it likes.

    One more takes the place of the target not used for longest, whose numbers go on in `others`.
    """

    def __init__(self, most: int = 1024) -> None:
        self._most = most
        self._counters: OrderedDict[str, TargetCounters] = OrderedDict()  # the longest unused first
        self.others = TargetCounters()

    def __len__(self) -> int:
        return len(self._counters)

    def __iter__(self) -> Iterator[tuple[str, TargetCounters]]:
        return iter(self._counters.items())

    def states(self) -> tuple[TargetState, ...]:
        """Return what has happened to the users of each target that has an entry of its own."""
        return tuple(counters.state(target) for target, counters in self)

    def __getitem__(self, target: str) -> TargetCounters:
        """Return the counters for a user of `target`, which is that of all others when no place is free."""
        counters = self._counters.get(target)
        if counters:
            self._counters.move_to_end(target)
            return counters
        if len(self._counters) >= self._most and not self._make_room():
            return self.others
        return self._counters.setdefault(target, TargetCounters())

    def _make_room(self) -> bool:
        for _ in range(min(_LOOKED_AT, self._most)):
            target, counters = next(iter(self._counters.items()))
            if not counters.in_use:
                self.others.absorb(self._counters.pop(target))
                return True
            self._counters.move_to_end(target)
        return False
