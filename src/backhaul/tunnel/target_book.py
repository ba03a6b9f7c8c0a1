"""Counters of the users of each target, for a bounded number of targets."""

from collections import OrderedDict
from collections.abc import Iterator

from backhaul.relay.traffic import Meter, Traffic
from backhaul.state import MovedState, TargetState

from .target_health import TargetHealth

_LOOKED_AT = 16  # targets checked for a replaceable one, the longest unused first


class TargetCounters:
    """The counters of one target's users."""

    __slots__ = ("dropped", "flows", "health", "open", "refused", "target", "total", "traffic")

    def __init__(self, target: str) -> None:
        self.target = target  # empty for the targets without an entry of their own
        self.traffic = Traffic(Meter(), Meter())
        self.open = 0  # users connected now
        self.flows = 0  # UDP users now
        self.total = 0  # users since the start, without UDP users
        self.dropped = 0  # users whose target could not be reached
        self.refused = 0  # users refused before the target was dialled
        self.health = TargetHealth()

    @property
    def in_use(self) -> bool:
        """True while connected users may change its counters."""
        return bool(self.open or self.flows)

    def state(self) -> TargetState:
        """Return the state of this target."""
        return TargetState(
            target=self.target,
            open=self.open,
            total=self.total,
            refused=self.refused,
            dropped=self.dropped,
            health=self.health.state(),
            received=self.traffic.received.bytes,
            sent=self.traffic.sent.bytes,
            flows=self.flows,
        )

    def user_came(self) -> None:
        """Count a user connected to the target."""
        self.total += 1
        self.open += 1
        self.health.succeed()

    def user_failed(self, why: str) -> None:
        """Count a user for whom the target could not be reached."""
        self.dropped += 1
        self.health.fail(why)

    def user_closed(self) -> None:
        """Count the end of a user."""
        self.open -= 1

    def flow_came(self) -> None:
        """Count a UDP user."""
        self.flows += 1

    def flow_closed(self) -> None:
        """Count the end of a UDP user."""
        self.flows -= 1

    def absorb(self, other: "TargetCounters") -> None:
        """Add the counters of a target that is not in use."""
        self.total += other.total
        self.dropped += other.dropped
        self.refused += other.refused
        self.traffic.received.bytes += other.traffic.received.bytes
        self.traffic.sent.bytes += other.traffic.sent.bytes


class TargetBook:
    """The counters of at most ``most`` targets, because a server may name any number.

    A further target replaces the one unused for longest, whose counters are added to ``others``.
    """

    def __init__(self, most: int = 1024) -> None:
        self._most = most
        self._counters: OrderedDict[str, TargetCounters] = OrderedDict()  # the longest unused first
        self.others = TargetCounters("")

    def __len__(self) -> int:
        return len(self._counters)

    def __iter__(self) -> Iterator[tuple[str, TargetCounters]]:
        return iter(self._counters.items())

    def states(self) -> tuple[TargetState, ...]:
        """Return the states of all targets with an entry of their own."""
        return tuple(counters.state() for _, counters in self)

    def moved(self) -> MovedState:
        """Return the bytes of all targets."""
        every = [self.others.traffic, *(counters.traffic for counters in self._counters.values())]
        return MovedState(sum(one.received.bytes for one in every), sum(one.sent.bytes for one in every))

    def __getitem__(self, target: str) -> TargetCounters:
        """Return the counters for a user of ``target``, or those of all other targets if the book is full."""
        counters = self._counters.get(target)
        if counters:
            self._counters.move_to_end(target)
            return counters
        if len(self._counters) >= self._most and not self._make_room():
            return self.others
        return self._counters.setdefault(target, TargetCounters(target))

    def _make_room(self) -> bool:
        for _ in range(min(_LOOKED_AT, self._most)):
            target, counters = next(iter(self._counters.items()))
            if not counters.in_use:
                self.others.absorb(self._counters.pop(target))
                return True
            self._counters.move_to_end(target)
        return False
