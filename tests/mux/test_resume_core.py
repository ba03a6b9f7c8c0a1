"""The numbers of bytes by which a session resumes after each loss of its connection, wherever that cuts it."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.mux.resume import ACK_EVERY, REPLAY_PIECE, Ledger, ResumeError, Spool
from backhaul.relay.channel import FRAMES_AT
from backhaul.relay.frames import KEPT_SIZE, KeptFrames


class Way:
    """One direction of a session: the spool of its sender, the ledger of its receiver, and the line in between."""

    def __init__(self) -> None:
        self.frames = KeptFrames()
        self.spool, self.ledger = Spool(self.frames), Ledger()
        self.received = 0
        self.sent, self.arrived, self.line = b"", b"", b""
        self.up = True
        self.cut_off = False  # an acknowledgement will be lost with the connection

    def send(self, data: bytes) -> None:
        if self._sends(data):
            self.spool.append(data)

    def send_many(self, data: bytes) -> None:
        if self._sends(data):
            self.spool.keep(built(self.frames, data))

    def _sends(self, data: bytes) -> bool:
        self.sent += data
        live = self.up and not self.spool.replaying
        if live:
            self.line += data
        else:
            self.spool.hold(data)
        return live

    def replay(self, pieces: int) -> None:
        for _ in range(pieces):
            if self.up and self.spool.replaying:
                self.line += self.spool.take()

    def deliver(self, count: int) -> None:
        piece, self.line = self.line[:count], self.line[count:]
        new = self.ledger.skip(memoryview(piece))
        self.arrived += bytes(new)
        self.received += len(new)

    def acknowledge(self, *, arrives: bool) -> None:
        if self.up and self.ledger.pending(self.received):
            low = self.ledger.report(self.received)
            if arrives:
                self.spool.acknowledge_low(low)
            else:
                self.cut_off = True

    def lose(self, delivered: int) -> None:
        self.deliver(delivered)
        self.line, self.up = b"", False

    def resume(self, known: int) -> None:
        """Go on; the sender learns of ``known`` bytes, which may have become more in the meantime."""
        self.cut_off = False
        self.spool.rewind(known)
        self.ledger.rewind(self.received, self.spool.acknowledged)
        self.up = True

    def check(self) -> None:
        assert self.sent.startswith(self.arrived)
        assert self.received == len(self.arrived)
        assert self.spool.size == len(self.sent) - self.spool.acknowledged
        assert bytes(self.spool) == self.sent[self.spool.acknowledged :]
        assert self.spool.memory >= self.spool.size

    def finish(self) -> None:
        if self.cut_off:
            self.lose(0)
        if not self.up:
            self.resume(self.received)
        while self.spool.replaying:
            self.replay(1)
        self.deliver(len(self.line))
        self.acknowledge(arrives=True)
        assert self.arrived == self.sent
        assert (self.spool.size, self.spool.memory, self.ledger.reported) == (0, 0, self.received)


def built(frames: KeptFrames, data: bytes) -> memoryview:
    """Return ``data`` where frames are built."""
    end = FRAMES_AT + len(data)
    frames.memory[FRAMES_AT:end] = data
    return frames.memory[FRAMES_AT:end]


@pytest.fixture
def spool() -> Spool:
    return Spool(KeptFrames())


BYTES = bytes(range(24))
PIECES = [BYTES[:1], BYTES[1:3], BYTES[3:10], BYTES[10:11], BYTES[11:24]]


def cuts() -> Iterator[tuple[int, int]]:
    counts = range(len(BYTES) + 1)
    return itertools.product(counts, counts)


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_session_continues_wherever_a_connection_and_the_one_after_it_are_cut(*, acknowledged: bool) -> None:
    for first, second in cuts():
        way = Way()
        for piece in PIECES:
            way.send(piece)
        way.deliver(first)
        way.acknowledge(arrives=acknowledged)
        for cut in (0, second):
            way.lose(cut)
            way.resume(way.received)
            way.replay(1)
            way.check()
        way.send(b"more")
        way.finish()


def test_bytes_that_arrive_while_the_other_end_looks_for_a_connection_are_dropped_when_they_are_repeated() -> None:
    for known, arrived in cuts():
        way = Way()
        for piece in PIECES:
            way.send(piece)
        way.deliver(known)
        told = way.received
        way.deliver(arrived)
        way.lose(0)
        way.resume(told)
        way.acknowledge(arrives=True)
        way.check()
        way.replay(1)
        way.deliver(1)
        way.acknowledge(arrives=True)
        way.check()
        way.finish()


def test_bytes_of_an_earlier_connection_count_although_the_replay_was_cut(spool: Spool) -> None:
    spool.append(b"abc")
    spool.rewind(1)  # all three have arrived meanwhile, on the old connection
    spool.hold(b"d")
    spool.rewind(3)
    assert spool.take() == b"d"
    with pytest.raises(ResumeError, match="acknowledges 1 bytes more than it was sent"):
        spool.rewind(5)


STEPS = st.one_of(
    st.tuples(st.just("send"), st.binary(min_size=1, max_size=300)),
    st.tuples(st.just("send_many"), st.binary(min_size=1, max_size=300)),
    st.tuples(st.just("deliver"), st.integers(0, 400)),
    st.tuples(st.just("replay"), st.integers(1, 3)),
    st.tuples(st.just("acknowledge"), st.booleans()),
    st.tuples(st.just("lose"), st.integers(0, 400)),
    st.tuples(st.just("resume"), st.integers(0, 400)),
)


@given(st.lists(st.tuples(st.booleans(), STEPS), max_size=60))
def test_both_directions_deliver_each_byte_once_and_in_order(steps: list[tuple[bool, tuple[str, int]]]) -> None:
    ways = Way(), Way()
    for second, (step, value) in steps:
        way = ways[second]
        if step == "acknowledge":
            way.acknowledge(arrives=bool(value))
        elif step == "lose":  # ends both directions
            way.lose(value)
            ways[not second].lose(0)
        elif step == "resume":
            for each in ways:
                if not each.up:  # ``value`` bytes came after the greeting
                    each.resume(max(each.ledger.reported, each.received - value))
        else:
            getattr(way, step)(value)
        for each in ways:
            each.check()
    for each in ways:
        each.finish()


def test_a_replay_has_pieces_of_a_moderate_size() -> None:
    frames = KeptFrames()
    spool = Spool(frames)
    for _ in range(100):
        spool.keep(built(frames, bytes(REPLAY_PIECE // 10)))
    spool.append(bytes(3 * REPLAY_PIECE))
    spool.rewind(5)
    sizes = []
    while spool.replaying:
        sizes.append(len(spool.take()))
    assert sum(sizes) == spool.size
    assert max(sizes[:-1]) <= REPLAY_PIECE < sizes[-1]
    assert len(sizes) == 11


def test_large_pieces_are_replayed_one_by_one(spool: Spool) -> None:
    for _ in range(2):
        spool.hold(bytes(REPLAY_PIECE + 1))
    assert len(spool.take()) == len(spool.take()) == REPLAY_PIECE + 1


def test_acknowledgements_wrap_at_32_bits(spool: Spool) -> None:
    spool.acknowledged = (1 << 32) - 3
    spool.append(b"abcdef")
    spool.acknowledge_low(2)
    assert (spool.acknowledged, bytes(spool)) == ((1 << 32) + 2, b"f")


def test_more_bytes_than_were_sent_can_t_be_acknowledged(spool: Spool) -> None:
    spool.append(b"abc")
    spool.hold(b"def")
    with pytest.raises(ResumeError, match="1 bytes more"):
        spool.acknowledge(4)
    with pytest.raises(ResumeError):
        Spool(KeptFrames()).rewind(1)


def test_an_old_acknowledgement_changes_nothing(spool: Spool) -> None:
    spool.append(b"abcde")
    spool.acknowledge(2)
    spool.acknowledge(1)
    assert (spool.acknowledged, spool.size, bytes(spool)) == (2, 3, b"cde")


def test_small_pieces_are_joined(spool: Spool) -> None:
    for _ in range(100_000):
        spool.append(b"tiny")
    assert spool.memory < 1.01 * spool.size
    spool.acknowledge(100_001)
    assert spool.memory < spool.size + REPLAY_PIECE + 1000
    assert bytes(spool) == b"iny" + 74_999 * b"tiny"
    spool.rewind(100_001)
    assert len(spool.take()) <= 2 * REPLAY_PIECE


def test_memory_is_used_again_when_its_bytes_are_acknowledged() -> None:
    frames = KeptFrames()
    spool = Spool(frames)
    first = built(frames, b"abc")
    spool.keep(first)
    spool.keep(built(frames, b"def"))
    assert spool.memory == 2 * KEPT_SIZE
    spool.acknowledge(5)
    assert (spool.memory, bytes(spool)) == (KEPT_SIZE, b"f")
    frames.keep()
    built(frames, b"xyz")
    assert (bytes(first), bytes(spool)) == (b"xyz", b"f")


def test_memory_is_given_back_once() -> None:
    frames = KeptFrames()
    spool = Spool(frames)
    spool.keep(built(frames, b"abc"))
    spool.keep(built(frames, b"def"))
    spool.acknowledge(3)
    spool.keep(built(frames, b"ghi"))
    spool.keep(built(frames, b"jkl"))  # in the memory of the first one
    spool.acknowledge(6)
    for _ in range(3):
        frames.keep()
        built(frames, b"xyz")
    assert bytes(spool) == b"ghijkl"


@pytest.mark.parametrize(("kept", "again"), [(0, 0), (7, 7), (60, 40)])
def test_as_much_memory_as_is_kept_is_held_for_later(kept: int, again: int) -> None:
    frames = KeptFrames()
    spool = Spool(frames)
    old = []
    for _ in range(100):
        old.append(built(frames, b"old"))
        spool.keep(old[-1])
    spool.acknowledge(3 * (100 - kept))
    frames.trim()
    for _ in range(100):
        frames.keep()
        built(frames, b"new")
    assert again <= sum(bytes(piece) == b"new" for piece in old) <= again + 1


def test_bytes_may_not_be_left_out() -> None:
    with pytest.raises(ResumeError, match="leaves out 1 bytes"):
        Ledger().rewind(3, 4)


def test_repeated_bytes_need_no_acknowledgement() -> None:
    ledger = Ledger()
    ledger.rewind(100, 40)
    assert not ledger.pending(100)
    ledger.skip(memoryview(bytes(50)))
    assert ledger.pending(100)
    assert ledger.report(100) == 90
    assert not ledger.pending(100)


def test_an_acknowledgement_is_due_after_many_bytes() -> None:
    ledger = Ledger()
    assert ledger.due == ACK_EVERY
    assert ledger.report((1 << 32) + 5) == 5
    assert ledger.due == (1 << 32) + 5 + ACK_EVERY
    ledger.rewind(100, 40)
    assert ledger.due == 100 + ACK_EVERY


def test_a_session_that_is_over_keeps_nothing(spool: Spool) -> None:
    spool.append(b"abc")
    spool.acknowledge(1)
    spool.hold(b"def")
    spool.clear()
    assert (spool.size, spool.memory, bytes(spool)) == (0, 0, b"")


def test_a_session_that_is_over_keeps_no_piece_of_which_a_part_is_acknowledged(spool: Spool) -> None:
    spool.hold(b"abcdef")
    assert spool.take() == b"abcdef"
    spool.acknowledge(5)
    spool.clear()
    assert (spool.size, spool.memory, bytes(spool)) == (0, 0, b"")
