"""Sealed datagrams: any order, each once, and their keys."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.security.datagrams import AHEAD, EPOCH_BITS, OVERHEAD, DatagramOpener, DatagramSealer
from backhaul.security.records import Cipher, RecordError
from backhaul.security.replay import SIZE

SECRET = bytes(range(32))
EPOCH = 4  # datagrams, where a test says so
ciphers = pytest.mark.parametrize("cipher", Cipher)


def pair(cipher: Cipher = Cipher.AES_128_GCM, **how: int) -> tuple[DatagramSealer, DatagramOpener]:
    return DatagramSealer(SECRET, cipher, **how), DatagramOpener(SECRET, cipher, **how)


def short_epochs(number: int = 0) -> tuple[DatagramSealer, DatagramOpener]:
    return pair(epoch_bits=2, number=number)


@ciphers
@given(payloads=st.lists(st.binary(max_size=64), max_size=30), chance=st.randoms(use_true_random=False))
def test_datagrams_in_any_order_are_opened_once(cipher: Cipher, payloads: list[bytes], chance: random.Random) -> None:
    sealer, opener = pair(cipher)
    sealed = {sealer.seal(payload): payload for payload in payloads}
    order = [datagram for datagram in sealed for _ in range(2)]
    chance.shuffle(order)
    opened = [payload for datagram in order if (payload := opener.open(memoryview(datagram))) is not None]
    assert sorted(opened) == sorted(payloads)
    assert all(len(datagram) == len(payload) + OVERHEAD for datagram, payload in sealed.items())


def test_a_repeat_and_an_old_one_are_spent_and_nothing_else_is() -> None:
    sealer, opener = pair()
    sealed = [sealer.seal(b"") for _ in range(SIZE + 1)]
    assert opener.open(sealed[1]) is not None
    assert [opener.spent(memoryview(datagram)) for datagram in (sealed[1], sealed[2], sealed[1][:-1])] == [
        True,
        False,
        False,
    ]
    assert opener.open(sealed[-1]) is not None
    assert opener.spent(sealed[0])


@given(st.integers(0, (1 << 48) - 1))
def test_the_first_bytes_of_a_datagram_are_known_in_advance(number: int) -> None:
    sealer, opener = pair(number=number)
    datagram = sealer.seal(b"abc")
    assert datagram.startswith(opener.masked(opener.number(datagram)))
    assert opener.number(opener.masked(number) + bytes(OVERHEAD)) == number


@ciphers
@given(bit=st.integers(0, 8 * (OVERHEAD + 3) - 1))
def test_a_flipped_bit_anywhere_is_noticed_and_leaves_the_original_valid(cipher: Cipher, bit: int) -> None:
    sealer, opener = pair(cipher)
    datagram = sealer.seal(b"abc")
    flipped = bytearray(datagram)
    flipped[bit // 8] ^= 1 << bit % 8
    assert opener.open(bytes(flipped)) is None
    assert opener.open(datagram) == b"abc"


@given(st.binary(max_size=100))
def test_datagrams_of_a_stranger_are_never_opened(datagram: bytes) -> None:
    assert pair()[1].open(datagram) is None


def test_a_datagram_that_is_cut_is_not_opened() -> None:
    sealer, opener = pair()
    datagram = sealer.seal(b"")
    assert all(opener.open(datagram[:size]) is None for size in range(len(datagram)))
    assert opener.open(datagram) == b""


def test_the_numbers_of_a_direction_do_not_show() -> None:
    first, second = (DatagramSealer(bytes([byte]) * 32, Cipher.AES_128_GCM).seal(b"") for byte in range(2))
    assert len({first[:4], second[:4], bytes(4)}) == 3


def test_a_datagram_that_the_window_has_passed_is_too_old() -> None:
    sealer, opener = pair()
    late, *others = [sealer.seal(b"%d" % number) for number in range(SIZE + 1)]
    assert opener.open(others[-1]) is not None
    assert opener.open(others[0]) is not None
    assert opener.open(late) is None


def test_a_repeat_can_be_told_from_a_stranger() -> None:
    sealer, opener = pair()
    datagram = sealer.seal(b"abc")
    number = opener.number(datagram)
    assert opener.fresh(number)
    assert [opener.decrypt(number, datagram), opener.use(number)] == [b"abc", True]
    assert [opener.decrypt(number, datagram), opener.use(number)] == [b"abc", False]
    assert not opener.fresh(number)
    assert opener.decrypt(number, datagram[:-1] + b"!") is None


def test_each_epoch_has_a_key_and_the_previous_one_is_kept_for_late_datagrams() -> None:
    sealer, opener = short_epochs()
    early, late, *others = [sealer.seal(b"%d" % number) for number in range(3 * EPOCH)]
    assert opener.open(others[EPOCH - 2]) == b"%d" % EPOCH
    assert opener.open(late) == b"1"
    assert opener.open(others[-1]) is not None
    assert opener.open(early) is None  # within the window, but its key is forgotten
    assert opener.open(others[EPOCH - 1]) == b"%d" % (EPOCH + 1)


@pytest.mark.parametrize("lost", range(AHEAD))
def test_whole_epochs_may_be_lost(lost: int) -> None:
    sealer, opener = short_epochs()
    assert opener.open(sealer.seal(b"before")) == b"before"
    for _ in range(EPOCH * (lost + 1)):
        sealer.seal(b"")
    assert opener.open(sealer.seal(b"after")) == b"after"


def test_a_forged_number_takes_no_key_away() -> None:
    """An attacker on the path flips bits of the number, so it seems to be far ahead or behind."""
    sealer, opener = short_epochs()
    first, second = sealer.seal(b"first"), sealer.seal(b"second")
    assert opener.open(first) == b"first"
    for bit in range(64):
        forged = (int.from_bytes(second[:8]) ^ 1 << bit).to_bytes(8) + second[8:]
        assert opener.open(forged) is None
    assert opener.open(second) == b"second"
    rest = [sealer.seal(b"%d" % number) for number in range(4 * EPOCH)]
    assert [opener.open(datagram) for datagram in rest] == [b"%d" % number for number in range(4 * EPOCH)]


def test_the_last_number_is_used_once_and_no_nonce_after_it() -> None:
    last = (1 << 64) - EPOCH - 1
    sealer, opener = short_epochs(number=last)
    sealed = [sealer.seal(b"the same") for _ in range(EPOCH + 1)]
    assert len({datagram[:8] for datagram in sealed}) == len(sealed)
    assert [opener.open(datagram) for datagram in sealed] == [b"the same"] * len(sealed)
    for _ in range(2):
        with pytest.raises(RecordError):
            sealer.seal(b"the same")


def test_one_key_per_epoch_seals_as_many_datagrams_as_the_constant_says() -> None:
    """The same number and payload under another key: the end of an epoch that began long before."""
    end = 1 << EPOCH_BITS
    whole, opener = pair(number=end - 1)
    ahead = DatagramSealer(SECRET, Cipher.AES_128_GCM, number=end)
    assert opener.open(whole.seal(b"last of its epoch")) is not None
    datagram = whole.seal(b"")
    assert datagram != ahead.seal(b"")  # whose first key this is
    assert opener.open(datagram) == b""


def test_no_secret_is_shown() -> None:
    sealer, opener = pair()
    assert [repr(sealer), repr(opener)] == ["DatagramSealer(...)", "DatagramOpener(...)"]
