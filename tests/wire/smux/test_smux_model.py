"""Two sessions on a pipe that keeps every byte and cuts them anywhere, as applications may expect them to behave.

All bytes written arrive once and in order, windows and budgets hold, and in the end nothing remains.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.wire.smux.ends import End, Pipe, pattern

from backhaul.wire.smux import KNOWN_WINDOW, Role, Settings, State

MAX_STREAMS = 6
MAX_WRITE = 5000


class TwoEnds(RuleBasedStateMachine):
    ends: tuple[End, End]

    @initialize(
        version=st.sampled_from([1, 2]),
        max_frame=st.sampled_from([1, 7, 1000, 65535]),
        receive_buffer=st.sampled_from([1, 100, 4194304]),
        stream_buffer=st.sampled_from([1, 100, 65536, KNOWN_WINDOW, 600000]),
        window_growth=st.sampled_from([0, 1000, 400000]),
    )
    def start(self, **chosen: int) -> None:
        ours = Settings(**chosen)
        self.ends = End(Role.CLIENT, ours, late=True), End(Role.SERVER, ours)
        self.wires = [bytearray(), bytearray()]  # bytes that one end has sent and the other has not read yet
        self.written: dict[tuple[End, int], bytes] = {}
        self.abandoned: set[tuple[End, int]] = set()

    @rule(side=st.sampled_from([0, 1]))
    def open(self, side: int) -> None:
        if len(self.ends[side].pipes) < MAX_STREAMS:
            self.ends[side].open()

    @rule(pick=st.data(), length=st.integers(1, MAX_WRITE))
    def write(self, pick: st.DataObject, length: int) -> None:
        if (pipe := self._pick(pick)) and not pipe.finishing:
            key = (pipe.end, pipe.stream.id)
            payload = pattern(length, start=len(self.written.get(key, b"")))
            self.written[key] = self.written.get(key, b"") + payload
            pipe.write(payload)

    @rule(pick=st.data())
    def finish(self, pick: st.DataObject) -> None:
        if pipe := self._pick(pick):
            pipe.finish()

    @rule(pick=st.data(), size=st.integers(1, 3000))
    def read(self, pick: st.DataObject, size: int) -> None:
        if pipe := self._pick(pick):
            pipe.read(size)

    @rule(pick=st.data())
    def abandon(self, pick: st.DataObject) -> None:
        if pipe := self._pick(pick):
            self._abandon(pipe)

    @rule(side=st.sampled_from([0, 1]), length=st.integers(1, 4000))
    def carry(self, side: int, length: int) -> None:
        """Move up to ``length`` bytes from one end to the other, unless that has stopped reading."""
        self.wires[side] += self.ends[side].take()
        other = self.ends[1 - side]
        if not other.session.paused:
            other.feed(bytes(self.wires[side][:length]))
            del self.wires[side][:length]

    @precondition(lambda self: hasattr(self, "ends"))
    @invariant()
    def arrived_bytes_are_the_written_ones_in_order(self) -> None:
        for end, other in (self.ends, self.ends[::-1]):
            for pipe in end.pipes:
                arrived = bytes(pipe.received) + b"".join(pipe.unread)
                assert self.written.get((other, pipe.stream.id), b"").startswith(arrived)

    @precondition(lambda self: hasattr(self, "ends"))
    @invariant()
    def the_budget_counts_unread_bytes(self) -> None:
        for end in self.ends:
            unread = sum(len(piece) for pipe in end.pipes for piece in pipe.unread)
            assert end.session.room == _room(end) - unread
            assert all(pipe.stream.sendable() >= 0 for pipe in end.pipes)
            assert end.session.growth.left >= 0

    def teardown(self) -> None:
        """Finish and close everything, and check that nothing remains."""
        if not hasattr(self, "ends"):
            return
        while self._settle():
            pass
        for end, other in (self.ends, self.ends[::-1]):
            for pipe in end.pipes:
                assert pipe.unsent == b""
                assert pipe.events.count("fin") == 1
                assert pipe.stream.state is State.CLOSED
                if (end, pipe.stream.id) not in self.abandoned:
                    assert pipe.received == self.written.get((other, pipe.stream.id), b"")
            assert len(end.pipes) == len(other.pipes)
            assert len(end.session) == 0
            assert end.session.room == _room(end)
            assert end.session.growth.left == end.session.settings.window_growth

    def _settle(self) -> bool:
        """Read, finish and move everything there is; return whether anything moved."""
        for end in self.ends:
            for pipe in end.pipes:
                pipe.finish()
                while pipe.read(MAX_WRITE):
                    pass
        moved = [bool(self.wires[side] or self._unsent(self.ends[side])) for side in (0, 1)]
        for side in (0, 1):
            self.carry(side, 65536)
        return any(moved)

    def _unsent(self, end: End) -> bool:
        return bool(end.output or end.session.control or end.session.late)

    def _pick(self, pick: st.DataObject) -> Pipe | None:
        pipes = [pipe for end in self.ends for pipe in end.pipes]
        return pick.draw(st.sampled_from(pipes)) if pipes else None

    def _abandon(self, pipe: Pipe) -> None:
        pipe.stream.abandon()
        pipe.unread.clear()
        self.abandoned.add((pipe.end, pipe.stream.id))


def _room(end: End) -> int:
    """Return how many unread bytes a session may hold."""
    return end.session.settings.receive_buffer + end.session.settings.window_growth


TwoEnds.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTwoEnds = TwoEnds.TestCase
