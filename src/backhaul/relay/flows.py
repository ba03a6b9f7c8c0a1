"""Flows: the datagrams of one user in both directions, until they cease.

A flow joins two ends of any kind: a peer of a UDP socket, a stream that frames datagrams, or a queue until there is
something better. No task and no timer belongs to a flow. A flood of sources costs the process no memory, and its flows
make room for each other before an answered flow does.
"""

import asyncio
import math
import socket
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Protocol

from backhaul.net.endpoints import Address
from backhaul.net.poller import Poller
from backhaul.net.udp import Counters, DatagramQueue, DatagramSocket, QueueRoom, prepare
from backhaul.wire.datagrams import Batch

from .budget import ANYBODY
from .outcome import FLOW_OVER, Done, Outcome, Progress, next_number
from .shares import Shares
from .traffic import Traffic

GRAIN = 1 / 16
"""Seconds: datagrams of games and calls are closer together, and to note the time of each costs a tenth of its way."""
DEFAULT_ROOM = 16 << 20
"""Bytes for datagrams that wait."""
_UNANSWERED_PART, _SOURCE_PART = 4, 32  # a quarter of the table for unanswered flows, an eighth of that for one source


class DatagramEnd(Hashable, Protocol):
    """One end of a flow, to which datagrams are sent."""

    def send(self, batch: Batch) -> None:
        """Send the datagrams, keep copies, or drop and count them; never wait, never raise."""

    def close(self) -> None:
        """Act on the end of the flow."""


def _nothing(_: Outcome) -> None:
    pass


class Flow:
    """One user's datagrams; owns both ends. ``near`` is the end towards the user, ``far`` the end towards the target.

    Flows share a ``source`` if one user may have sent them from many ports; without one a flow is its own source.
    ``owner`` is the transport of the client whose users send them. ``done`` is called at the end.
    """

    __slots__ = (
        "_far",
        "_near",
        "_table",
        "answered",
        "closed",
        "counters",
        "done",
        "last_used",
        "number",
        "received",
        "room",
        "sent",
        "since",
        "source",
        "target",
        "traffic",
    )

    def __init__(
        self,
        table: "FlowTable",
        near: DatagramEnd,
        target: str,
        traffic: Traffic,
        counters: Counters,
        *,
        source: Hashable = "",
        owner: Hashable = ANYBODY,
        done: Done = _nothing,
    ) -> None:
        self.done = done
        self._table = table
        self._near = near
        self.room = table.room.of(owner)
        """The room for datagrams that wait."""
        self._far: DatagramEnd = DatagramQueue(counters, room=self.room)
        self.target = target
        self.traffic = traffic
        self.counters = counters
        self.source = source or near
        self.answered = False  # by the target
        self.closed = False
        self.last_used = 0.0  # by the table's clock, to its grain
        self.number = next_number()
        self.received = 0  # bytes
        self.sent = 0  # bytes
        table.add(self)
        self.since = self.last_used

    def attach(self, far: DatagramEnd) -> None:
        """Make ``far`` the far end, which replaces the previous one; datagrams that waited go first."""
        before, self._far = self._far, far
        if isinstance(before, DatagramQueue):
            far.send(before.take())
        else:
            before.close()

    @property
    def near(self) -> DatagramEnd:
        """The end towards the user."""
        return self._near

    def progress(self) -> Progress:
        """Return the progress of the user."""
        return Progress(self.received, self.sent, self._phase(), "")

    def ending(self, now: float) -> str:
        """Return the reason of the flow's end in a word of the access log."""
        phase = self._phase()
        if phase != "open":
            return {"waiting": "not_carried"}.get(phase, phase)
        return "timeout" if self.last_used + self._table.timeout <= now else "closed"  # rounded as in the sweep

    def _phase(self) -> str:
        if isinstance(self._far, DatagramQueue):
            return "waiting"
        return "refused" if isinstance(self._far, Refusal) else "open"

    def from_near(self, batch: Batch) -> None:
        """Pass on datagrams of the user."""
        table = self._table
        if table.clock() >= self.last_used + table.grain:
            table.touch(self)
        size = len(batch[0]) if len(batch) == 1 else sum(map(len, batch))
        self.received += size
        self.traffic.received.bytes += size
        self._far.send(batch)

    def from_far(self, batch: Batch) -> None:
        """Pass on datagrams of the target."""
        table = self._table
        if not self.answered:
            table.answered(self)
        elif table.clock() >= self.last_used + table.grain:
            table.touch(self)
        size = len(batch[0]) if len(batch) == 1 else sum(map(len, batch))
        self.sent += size
        self.traffic.sent.bytes += size
        self._near.send(batch)

    def close(self) -> None:
        """End the flow, once; its user may begin another one at any time."""
        if self.closed:
            return
        self.closed = True
        self._table.discard(self)
        self._near.close()
        self._far.close()
        self.done(FLOW_OVER)


class Refusal:
    """The far end of a flow that the client refused; drops and counts the datagrams."""

    __slots__ = ("_counters",)

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def send(self, batch: Batch) -> None:
        """Count the datagrams as dropped."""
        self._counters.dropped += len(batch)

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class FlowTable:
    """Every flow of this end in the order of its last datagram: at most ``limit``, none silent for ``timeout`` seconds.

    In a full table, a flow that no target has answered makes room: a user can invent flows, but not answers. While such
    flows are few, a source that has hardly any of them takes the place of an answered flow instead, so users who arrive
    together do not push each other out. Either way the source with the most flows of the kind loses the one that has
    been silent for longest.
    """

    def __init__(self, limit: int = 4096, timeout: float = 60.0, *, grain: float = 0.0) -> None:
        """Note the use of a flow at most once in ``grain`` seconds."""
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        self.grain = grain
        self.limit = limit
        self.timeout = timeout
        self._flows: OrderedDict[Flow, None] = OrderedDict()
        self._unanswered: Shares[Flow] = Shares()
        self._answered: Shares[Flow] = Shares()
        self._timer: asyncio.TimerHandle | None = None
        self.counters = Counters()  # of flows without a port, which are those of the client
        self.room: QueueRoom = QueueRoom(DEFAULT_ROOM)
        """The room for datagrams that wait."""

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[Flow]:
        return iter(self._flows)

    @property
    def last_used(self) -> float:
        """The time of the last datagram of all flows, on the event loop's clock."""
        return next(reversed(self._flows)).last_used if self._flows else -math.inf

    @property
    def next_sweep(self) -> float:
        """When silent flows are looked for next, by the event loop's clock; never without a flow."""
        return self._timer.when() if self._timer else math.inf

    def bound(self, limit: int, timeout: float) -> None:
        """Replace the limits, for present flows as well."""
        self.limit, self.timeout = limit, timeout
        while len(self._flows) > limit:
            (self._unanswered or self._answered).oldest_of_most().close()
        if self._timer:
            self._timer.cancel()
            self._timer = self._loop.call_later(0, self._sweep)

    def add(self, flow: Flow) -> None:
        """Add a new flow, which may take the place of another one."""
        if len(self._flows) >= self.limit:
            self._victim(flow.source).close()
        self._flows[flow] = None
        self._unanswered.add(flow)
        flow.last_used = self._loop.time()
        flow.counters.flows += 1
        flow.counters.total += 1
        if self._timer is None:
            self._timer = self._loop.call_later(self.timeout, self._sweep)

    def _victim(self, source: Hashable) -> Flow:
        """Return the flow that makes room for one of this source."""
        many = len(self._unanswered) > self.limit // _UNANSWERED_PART
        if many or self._unanswered.count(source) > self.limit // _SOURCE_PART or not self._answered:
            return self._unanswered.oldest_of_most()
        return self._answered.oldest_of_most()

    def touch(self, flow: Flow) -> None:
        """Note that the flow is in use."""
        flow.last_used = self._loop.time()
        self._flows.move_to_end(flow)
        (self._answered if flow.answered else self._unanswered).touch(flow)

    def answered(self, flow: Flow) -> None:
        """Note that the flow is in use, and that its target has answered."""
        self._unanswered.discard(flow)
        self._answered.add(flow)
        flow.answered = True
        self.touch(flow)

    def discard(self, flow: Flow) -> None:
        """Drop a flow that has closed."""
        del self._flows[flow]
        (self._answered if flow.answered else self._unanswered).discard(flow)
        flow.counters.flows -= 1

    def make_room(self, before: float) -> bool:
        """Close the flow that has been silent for longest, if it was last used ``before``; return whether it was."""
        flow = next(iter(self._flows), None)
        if not flow or flow.last_used >= before:
            return False
        flow.close()
        return True

    def close(self) -> None:
        """End every flow."""
        while self._flows:
            next(iter(self._flows)).close()
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._flows:
            flow = next(iter(self._flows))
            due = flow.last_used + self.timeout
            if due > now:
                self._timer = self._loop.call_at(due, self._sweep)
                return
            try:
                flow.close()
            except BaseException:  # the event loop logs it; the other flows end nevertheless
                self._timer = self._loop.call_later(0, self._sweep)
                raise


def connect_flow(poller: Poller, flow: Flow, sock: socket.socket) -> None:
    """Make ``sock``, a UDP socket that is connected to the target, the far end of the flow.

    Raises OSError, after the flow has ended without a report, if the socket can't be watched.
    """

    def received(batch: Batch, _: Address) -> None:
        flow.from_far(batch)

    prepare(sock)
    try:
        far = DatagramSocket(poller, sock, received, flow.counters)
    except OSError:
        flow.done = _nothing
        flow.close()
        raise
    flow.attach(far)
