"""Sealed records: their order, their keys, and their way through a byte stream."""

import itertools
import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.security import kinds
from backhaul.security.derive import step
from backhaul.security.records import (
    HEADER_SIZE,
    MAX_BODY,
    MAX_LOADED,
    OVERHEAD,
    TAG_SIZE,
    ChainOpener,
    ChainSealer,
    Cipher,
    FirstRecord,
    Opener,
    RecordError,
    RecordReader,
    Sealer,
    SharedOpener,
    SharedSealer,
    make_aead,
)

SECRET = bytes(range(32))
ciphers = pytest.mark.parametrize("cipher", Cipher)


def pair(cipher: Cipher = Cipher.AES_128_GCM, **how: int) -> tuple[Sealer, Opener]:
    return ChainSealer(SECRET, cipher, **how), ChainOpener(SECRET, cipher, **how)


def shared(number: int) -> tuple[Sealer, Opener]:
    aead, connection = make_aead(SECRET, Cipher.AES_128_GCM), number.to_bytes(6)
    return SharedSealer(aead, connection), SharedOpener(aead, connection)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


class Reading:
    """A reader, and the records that it has found."""

    def __init__(self, opener: Opener) -> None:
        self.found: list[tuple[int, bytes]] = []
        self.reader = RecordReader(opener, lambda kind, body: self.found.append((kind, bytes(body))))

    def feed(self, data: bytes) -> None:
        self.reader.feed(memoryview(bytearray(data)))


def test_a_reader_knows_whether_a_record_has_begun() -> None:
    sealer, opener = shared(0)
    reading, record = Reading(opener), sealer.frame(0, b"body")
    assert reading.reader.between_records
    reading.feed(record[:2])
    assert (reading.reader.between_records, reading.reader.unfinished) == (False, 2)
    reading.feed(record[2:])
    assert (reading.reader.between_records, reading.reader.unfinished) == (True, 0)
    assert reading.found == [(0, b"body")]


@ciphers
def test_records_are_opened_in_their_order(cipher: Cipher) -> None:
    sealer, opener = pair(cipher)
    texts = [b"", b"one", bytes(5000)]
    for text in texts:
        assert opener.open(sealer.seal(text)) == text


@ciphers
def test_sealing_into_memory_gives_the_same_bytes(cipher: Cipher) -> None:
    plain = os.urandom(1000)
    sealed = ChainSealer(SECRET, cipher).seal(plain)
    memory = bytearray(plain) + bytearray(TAG_SIZE)
    ChainSealer(SECRET, cipher).seal_into(memoryview(memory)[: len(plain)], memoryview(memory))
    assert memory == sealed
    assert ChainOpener(SECRET, cipher).open_in_place(memoryview(memory)) == plain


def test_a_record_made_in_place_is_the_same() -> None:
    record = pair()[0].frame(kinds.DATA, b"body")
    memory = bytearray(b"\xff" * 4 + b"body" + bytes(TAG_SIZE))
    pair()[0].frame_in_place(kinds.DATA, memoryview(memory))
    assert memory == record


@ciphers
@given(number=st.integers(0, 3), bit=st.integers(0, 8 * 21 - 1))
def test_a_changed_moved_or_repeated_record_is_refused(cipher: Cipher, number: int, bit: int) -> None:
    sealer, opener = pair(cipher)
    records = [bytearray(sealer.seal(b"12345")) for _ in range(4)]
    for record in records[:number]:
        opener.open(bytes(record))
    wrong = records[number]
    wrong[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RecordError):
        opener.open(bytes(wrong))


def test_a_record_is_opened_at_its_place_only() -> None:
    sealer, opener = pair()
    first, second = sealer.seal(b"x"), sealer.seal(b"x")
    assert first != second
    with pytest.raises(RecordError):
        opener.open(second)
    with pytest.raises(RecordError):
        pair()[1].open(b"short")
    with pytest.raises(RecordError):
        pair()[1].open_in_place(memoryview(bytearray(3)))


@ciphers
def test_keys_are_replaced(cipher: Cipher) -> None:
    sealer, opener = pair(cipher, epoch=3)
    for number in range(10):
        assert opener.open(sealer.seal(b"%d" % number)) == b"%d" % number
    by_epoch = {ChainSealer(SECRET, cipher, epoch=epoch) for epoch in (1, 2)}
    seconds = {(sealer.seal(b"x"), sealer.seal(b"x"))[1] for sealer in by_epoch}
    assert len(seconds) == 2, "the second record has another key where an epoch has one record"


def test_no_nonce_is_used_twice() -> None:
    sealer, opener = pair(number=2**64 - 1)
    assert opener.open(sealer.seal(b"the last one")) == b"the last one"
    with pytest.raises(RecordError):
        sealer.seal(b"")
    with pytest.raises(RecordError):
        opener.open(bytes(TAG_SIZE))


@given(
    records=st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=6),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_records_arrive_however_they_are_cut(records: list[tuple[int, bytes]], cuts: list[int]) -> None:
    sealer, opener = pair()
    stream = b"".join(sealer.frame(kind, body) for kind, body in records)
    reading = Reading(opener)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in itertools.pairwise(edges):
        reading.feed(stream[start:end])
    assert reading.found == records


def test_records_arrive_byte_by_byte() -> None:
    sealer, opener = pair()
    reading = Reading(opener)
    for byte in sealer.frame(7, b"slow") + sealer.frame(8):
        reading.feed(bytes([byte]))
    assert reading.found == [(7, b"slow"), (8, b"")]


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_bytes_after_a_stop_are_kept(size: int) -> None:
    sealer, opener = pair()
    reading = Reading(opener)

    def take(kind: int, body: memoryview) -> None:
        reading.found.append((kind, bytes(body)))
        reading.reader.stop()

    reading.reader.take = take
    rest = sealer.frame(kinds.TCP, b"the next") + b"\x00"
    end = ChainSealer(SECRET, Cipher.AES_128_GCM).frame(kinds.END, kinds.put_taken(5))
    sent = end + rest
    for start in range(0, len(sent), size):
        reading.feed(sent[start : start + size])
    assert reading.found == [(kinds.END, kinds.put_taken(5))]
    assert reading.reader.rest() == rest
    assert reading.reader.between_records


def test_an_end_tells_how_many_bytes_were_taken() -> None:
    assert kinds.taken_of(kinds.put_taken(1 << 40)) == 1 << 40
    with pytest.raises(RecordError):
        kinds.taken_of(bytes(9))


def test_the_largest_record() -> None:
    sealer, opener = pair()
    record = sealer.frame(1, bytes(MAX_BODY))
    assert len(record) == MAX_BODY + OVERHEAD
    reading = Reading(opener)
    reading.feed(record)
    assert reading.found == [(1, bytes(MAX_BODY))]


@pytest.mark.parametrize("length", [0, TAG_SIZE, MAX_BODY + TAG_SIZE + 2, 2**24 - 1])
@pytest.mark.parametrize("cut", [0, 2])
def test_a_wrong_length_is_refused_at_once(length: int, cut: int) -> None:
    head = length.to_bytes(HEADER_SIZE)
    reading = Reading(pair()[1])
    reading.feed(head[:cut])
    with pytest.raises(RecordError):
        reading.feed(head[cut:])


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_the_first_record_leaves_the_bytes_after_it(size: int) -> None:
    sealer, opener = pair()
    stream = sealer.frame(kinds.TCP, b"target") + b"in clear"
    first, record, start = FirstRecord(opener, 6), None, 0
    while not record:
        record = first.feed(stream[start : start + size])
        start += size
    assert (record.kind, record.body) == (kinds.TCP, b"target")
    assert record.rest + stream[start:] == b"in clear"


def test_a_first_record_that_is_too_long_is_refused_at_once() -> None:
    sealer, opener = pair()
    with pytest.raises(RecordError):
        FirstRecord(opener, 5).feed(sealer.frame(kinds.TCP, b"target")[:HEADER_SIZE])


def test_a_first_record_that_was_altered_is_refused() -> None:
    sealer, opener = pair()
    with pytest.raises(RecordError):
        FirstRecord(opener, 6).feed(sealer.frame(kinds.TCP, b"target")[:-1] + b"?")


@pytest.mark.parametrize("number", range(9))
def test_records_that_both_ends_leave_out_change_nothing(number: int) -> None:
    sealer, opener = pair(epoch=3)
    for _ in range(number):
        sealer.seal(b"left out by one end only")
    skipping = pair(epoch=3)[0]
    skipping.skip_to(number)
    opener.skip_to(number)
    for text in (b"first", b"second"):
        sealed = skipping.seal(text)
        assert sealed == sealer.seal(text)
        assert opener.open(sealed) == text


def test_no_number_is_used_twice() -> None:
    sealer, opener = pair()
    for end in (sealer, opener):
        end.skip_to(5)
    opener.open(sealer.seal(b"the record with number 5"))
    for end in (sealer, opener):
        with pytest.raises(RecordError):
            end.skip_to(5)
        end.skip_to(6)


def test_nothing_secret_is_printed() -> None:
    assert repr(pair()) == "(ChainSealer(...), ChainOpener(...))"
    assert repr(shared(1)) == "(SharedSealer(...), SharedOpener(...))"
    assert repr(step(bytes(32))) == "Step(...)"


def test_connections_beyond_those_with_loaded_keys_go_on() -> None:
    pairs = [pair() for _ in range(MAX_LOADED + 1)]
    for text in (b"first", b"second"):
        for sealer, opener in pairs:
            assert opener.open(sealer.seal(text)) == text


def test_connections_that_are_gone_make_room_for_the_keys_of_others() -> None:
    for _ in range(2 * MAX_LOADED):
        sealer, opener = pair()
        assert opener.open(sealer.seal(b"text")) == b"text"


def test_an_idle_connection_does_not_keep_its_key() -> None:
    before = resident_bytes()
    idle = [ChainSealer(SECRET, Cipher.AES_128_GCM) for _ in range(6000)]
    for sealer in idle:
        sealer.seal(b"")
    assert (resident_bytes() - before) / len(idle) < 1000  # a key takes 2500


def test_connections_with_a_key_in_common_have_records_of_their_own() -> None:
    (sealer, opener), (other_sealer, other_opener) = shared(1), shared(2)
    sealed = [sealer.seal(b"text"), sealer.seal(b"text"), other_sealer.seal(b"text"), other_sealer.seal(b"text")]
    assert len(set(sealed)) == 4
    assert [opener.open(text) for text in sealed[:2]] == [b"text"] * 2
    with pytest.raises(RecordError):
        other_opener.open(sealed[0])


def test_the_numbers_of_a_shared_key_end_before_those_of_another_connection() -> None:
    sealer, _ = shared(1)
    sealer.skip_to((1 << 48) - 1)
    sealer.seal(b"the last one")
    with pytest.raises(RecordError):
        sealer.seal(b"")
