"""The arithmetic, compared with plain unbounded integers."""

from hypothesis import example, given
from hypothesis import strategies as st

from backhaul.wire.smux.window import INITIAL_WINDOW, Growth, ReceiveWindow, SendWindow, signed32

COUNTER = st.integers(0, 2**32 - 1)
WRAPPING_BASE = st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 40000, 2**32 - 1])


def constant(size: int) -> ReceiveWindow:
    """Return a window that does not grow."""
    return ReceiveWindow(size, Growth(0, lambda: 0.0))


@given(st.integers(-(2**40), 2**40))
@example(2**31)
@example(2**31 - 1)
@example(-(2**31))
def test_signed32(value: int) -> None:
    assert -(2**31) <= signed32(value) < 2**31
    assert (signed32(value) - value) % 2**32 == 0


def test_before_the_first_update_the_window_is_262144() -> None:
    window = SendWindow()
    assert window.space == INITIAL_WINDOW == 262144
    window.sent(262144)
    assert window.space == 0


@given(WRAPPING_BASE, st.lists(st.tuples(st.integers(0, 70000), st.floats(0, 1), st.integers(1, 2**31 - 1))))
def test_space_is_window_less_what_is_in_flight(base: int, steps: list[tuple[int, float, int]]) -> None:
    window = SendWindow()
    window.sent(base)
    window.update(base, INITIAL_WINDOW)
    sent = consumed = base
    for count, share, size in steps:
        window.sent(count)
        sent += count
        consumed += int((sent - consumed) * share)
        window.update(consumed % 2**32, size)
        assert window.space == max(0, size - (sent - consumed))


@given(COUNTER, COUNTER, COUNTER)
@example(5, 6, 65536)
def test_space_is_never_negative_whatever_the_peer_claims(sent: int, consumed: int, size: int) -> None:
    window = SendWindow()
    window.sent(sent)
    window.update(consumed, size)
    assert 0 <= window.space < 2**31


def test_more_consumed_than_sent_stops_the_sender_until_a_right_update() -> None:
    window = SendWindow()
    window.sent(5)
    window.update(6, 65536)
    assert window.space == 0
    window.update(5, 65536)
    assert window.space == 65536


def test_a_window_of_two_gigabytes_is_negative() -> None:
    window = SendWindow()
    window.update(0, 2**31)
    assert window.space == 0
    window.update(0, 2**31 - 1)
    assert window.space == 2**31 - 1


def test_a_stale_update_is_used() -> None:
    window = SendWindow()
    window.sent(1000)
    window.update(1000, 1000)
    window.update(0, 1000)
    assert window.space == 0


@given(st.integers(1, 200000), st.lists(st.integers(1, 70000)))
def test_an_update_is_due_at_the_first_bytes_and_at_half_the_window(size: int, counts: list[int]) -> None:
    window = constant(size)
    total = unreported = 0
    for count in counts:
        total, unreported = total + count, unreported + count
        due = window.take(count, 0)
        assert due == (total == count or unreported >= size // 2)
        if due:
            assert window.report() == total
            unreported = 0


@given(st.integers(1, 2**31 - 1), st.lists(st.integers(1, 70000)))
@example(4, [1, 1])
def test_discarded_bytes_are_reported_in_time_for_the_initial_window(size: int, counts: list[int]) -> None:
    window = constant(size)
    total = unreported = 0
    for count in counts:
        total, unreported = total + count, unreported + count
        if window.discard(count):
            assert window.report() == total
            unreported = 0
        assert unreported < max(1, min(size, INITIAL_WINDOW) // 2)


def test_a_constant_window_is_used_in_full_in_each_round_trip() -> None:
    """The stream begins with a target, after which frames do not end at half a window."""
    sender, receiver, size = SendWindow(), constant(65536), 65536
    moved: list[int] = []
    for turn in range(20):
        frames = [17] if turn == 0 else []
        sender.sent(sum(frames))
        while room := min(sender.stretch(), 32768):
            sender.sent(room)
            frames.append(room)
        pieces = [min(16384, frame - start) for frame in frames for start in range(0, frame, 16384)]
        for consumed in [receiver.report() for piece in pieces if receiver.take(piece, 0)]:
            sender.update(consumed, size)
        moved.append(sum(frames))
    assert moved[-10:] == [size] * 10


@given(COUNTER, st.integers(0, 2**31 - 1), st.integers(0, 100000))
@example(5, 1, 0)
def test_a_stretch_ends_at_the_next_half_of_a_window(sent: int, size: int, in_flight: int) -> None:
    window = SendWindow()
    window.sent(sent)
    window.update(sent - in_flight, size)
    assert 0 <= window.stretch() <= window.space
    assert bool(window.stretch()) is bool(window.space)
    if window.stretch() < window.space:
        assert (in_flight + window.stretch()) % (size // 2) == 0


def test_the_total_wraps() -> None:
    window = constant(65536)
    for _ in range(2):
        window.take(2**31, 0)
    assert window.take(5, 0)
    assert window.report() == 5


@given(
    size=st.integers(1, 2**20),
    total=st.integers(1, 2**20),
    writes=st.lists(st.integers(1, 65535), min_size=1, max_size=20),
    reads=st.lists(st.integers(1, 65535), min_size=1, max_size=20),
    discarding=st.booleans(),
)
@example(size=524290, total=300000, writes=[65535], reads=[65535], discarding=False)
@example(size=524290, total=300000, writes=[65535], reads=[65535], discarding=True)
def test_sender_and_receiver_never_wait_for_each_other(
    size: int, total: int, writes: list[int], reads: list[int], *, discarding: bool
) -> None:
    """Check that the sender may send again whenever the receiver has taken all bytes in flight."""
    sender, receiver = SendWindow(), constant(size)
    count = receiver.discard if discarding else lambda read: receiver.take(read, 0)
    sent = taken = turn = 0
    while sent < total and turn < 500:
        step = min(sender.space, writes[turn % len(writes)], total - sent)
        sender.sent(step)
        sent += step
        while taken < sent:
            left = sent - taken
            read = min(left, max(left // 64, reads[turn % len(reads)]))  # a megabyte byte by byte takes too long
            taken += read
            if count(read):
                sender.update(receiver.report(), size)
        assert step > 0
        turn += 1
