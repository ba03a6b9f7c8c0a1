"""Datagrams in a stream with any cuts, and the estimate of their delay."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire.datagrams import (
    CLOCK_CYCLE,
    MAX_PAYLOAD,
    DelayEstimator,
    Splitter,
    framed_size,
    join,
    join_stamped,
    put,
)

PAYLOADS = st.lists(st.binary(max_size=300), max_size=12)


def split(splitter: Splitter, pieces: Iterator[bytes]) -> list[bytes]:
    return [bytes(datagram) for piece in pieces for datagram in splitter.feed(memoryview(piece))]


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def test_frames_as_on_the_wire() -> None:
    assert join([b"hello"]).hex() == "000568656c6c6f"
    assert join_stamped([b"echo:hello"], 0x070F28).hex() == "00070f28000a6563686f3a68656c6c6f"
    assert join([]) == b""


def test_timestamps_stay_within_their_cycle() -> None:
    assert join_stamped([b""], 1_700_000_000_123)[:4] == (1_700_000_000_123 % 600_000).to_bytes(4, "big")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
@pytest.mark.parametrize("stamped", [False, True])
def test_any_cut_gives_the_same_datagrams(size: int, *, stamped: bool) -> None:
    batch = [b"", b"a", b"", b"hello", bytes(1200), b"z" * 301]
    data = join_stamped(batch, 7) if stamped else join(batch)
    assert split(Splitter(stamped=stamped), in_pieces(data, size)) == batch


@given(PAYLOADS, st.integers(0, 40))
def test_frames_in_a_buffer_are_those_of_a_write(batch: list[bytes], offset: int) -> None:
    framed = join(batch)
    assert framed_size(batch) == len(framed)
    buffer = bytearray(b"\xaa" * (offset + len(framed) + 3))
    put(batch, memoryview(buffer), offset)
    assert buffer == b"\xaa" * offset + framed + b"\xaa" * 3


@given(PAYLOADS, st.lists(st.integers(1, 400)), st.booleans())
def test_random_datagrams_in_random_pieces(batch: list[bytes], sizes: list[int], stamped: bool) -> None:  # noqa: FBT001
    data = join_stamped(batch, 599_999) if stamped else join(batch)
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    assert split(Splitter(stamped=stamped), iter([*pieces, data])) == batch


@given(st.lists(st.binary(max_size=50)))
def test_random_bytes_never_raise_and_no_byte_is_invented(pieces: list[bytes]) -> None:
    found = split(Splitter(stamped=True), iter(pieces))
    assert sum(len(datagram) + 6 for datagram in found) <= sum(map(len, pieces))


def test_a_whole_datagram_is_a_view_not_a_copy() -> None:
    buffer = bytearray(join([b"one", b"two"]))
    first, second = Splitter(stamped=False).feed(memoryview(buffer))
    buffer[2:5] = b"ONE"
    buffer[7:10] = b"TWO"
    assert (first, second) == (b"ONE", b"TWO")


def test_half_a_datagram_survives_the_reuse_of_the_buffer() -> None:
    splitter = Splitter(stamped=False)
    buffer = bytearray(join([b"first", b"second"])[:-2])
    splitter.feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert split(splitter, iter([b"nd"])) == [b"second"]


def test_the_largest_datagram() -> None:
    largest = bytes(MAX_PAYLOAD)
    assert split(Splitter(stamped=True), in_pieces(join_stamped([largest], 0), 16384)) == [largest]


def test_the_timestamp_is_that_of_the_first_datagram() -> None:
    def stamps(*pieces: bytes) -> list[int]:
        splitter = Splitter(stamped=True)
        return [splitter.timestamp for piece in pieces if splitter.feed(memoryview(piece))]

    data = join_stamped([b"a"], 1) + join_stamped([b"b"], 2)
    assert stamps(data) == [1]
    assert stamps(data[:3], data[3:]) == [1]
    assert stamps(data[:-1], data[-1:]) == [1, 2]


def verdicts(judge: DelayEstimator, arrivals: list[tuple[int, int]]) -> list[bool]:
    return [judge.late(sent, arrived) for sent, arrived in arrivals]


@pytest.mark.parametrize("ahead", [0, 1, 250_000, 300_000, 599_999, -86_400_000])
def test_a_wrong_clock_means_no_congestion(ahead: int) -> None:
    sent = range(0, 2_000_000, 997)  # over the end of the cycle, three times
    judge = DelayEstimator(20)
    assert not any(judge.late((at + ahead) % CLOCK_CYCLE, at + 10) for at in sent)


@pytest.mark.parametrize("ahead", [0, 250_000, 599_950])
def test_a_growing_delay_means_congestion_with_any_clocks(ahead: int) -> None:
    judge = DelayEstimator(20)
    delays = [10, 60, 110, 111, 300, 110, 10]
    judged = [judge.late((at * 50 + ahead) % CLOCK_CYCLE, at * 50 + delay) for at, delay in enumerate(delays)]
    assert judged == [False, False, False, True, True, False, False]


def test_a_long_round_trip_raises_the_limit() -> None:
    judge = DelayEstimator(200)
    assert verdicts(judge, [(0, 0), (0, 600), (0, 601)]) == [False, False, True]


def test_a_clock_that_was_set_back_misleads_for_a_while_only() -> None:
    judge = DelayEstimator(0)
    assert not judge.late(0, 0)
    judged = [judge.late((at - 5_000) % CLOCK_CYCLE, at) for at in range(1_000, 181_000, 1_000)]
    assert judged[0]
    assert not any(judged[120:])


def test_a_clock_that_was_set_forward_counts_at_once() -> None:
    judge = DelayEstimator(0)
    assert verdicts(judge, [(0, 50), (1_000 + 5_000, 1_050), (2_000 + 5_000, 2_050)]) == [False, False, False]


@given(st.integers(), st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 100)), max_size=30))
def test_jitter_within_the_limit_means_no_congestion(ahead: int, arrivals: list[tuple[int, int]]) -> None:
    judge, now = DelayEstimator(0), 0
    for gap, delay in arrivals:
        now += gap
        assert not judge.late((now + ahead) % CLOCK_CYCLE, now + delay)
