"""The keys of a session, and the admission of its connections."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.security.derive import derive
from backhaul.security.records import Cipher
from backhaul.security.session import (
    ADMISSION_SIZE,
    LOCATOR_SIZE,
    MAX_CONNECTIONS,
    Admissions,
    Register,
    SessionKeys,
    Side,
)

MASTER = bytes(range(32))


def keys(side: Side, master: bytes = MASTER, *, payload: bool = False) -> SessionKeys:
    return SessionKeys(master, side, Cipher.AES_128_GCM, payload=payload)


class Pair:
    """A server with a session, and the client's supply."""

    def __init__(self) -> None:
        self.register: Register[str] = Register(os.urandom(LOCATOR_SIZE))
        self.session = self.register.reserve()
        self.register.enter(self.session, keys(Side.SERVER), "owner")
        self.client = Admissions(keys(Side.CLIENT), self.session, self.register.locator)


@pytest.mark.parametrize("payload", [False, True])
def test_both_ends_have_the_same_keys_and_each_direction_its_own(payload: bool) -> None:  # noqa: FBT001
    client, server = keys(Side.CLIENT, payload=payload), keys(Side.SERVER, payload=payload)
    for ours, theirs in ((client.control(), server.control()), (client.tunnel(5), server.tunnel(5))):
        sealed = ours.sealer.seal(b"up")
        assert theirs.opener.open(sealed) == b"up"
        assert ours.opener.open(theirs.sealer.seal(b"down")) == b"down"
        assert sealed != server.tunnel(5).sealer.seal(b"up")
    assert client.datagrams(b"a") == server.datagrams(b"a")[::-1]
    secrets = {*client.datagrams(b"a"), *client.datagrams(b"b")}
    assert len(secrets) == 4
    assert client.tunnel(1).sealer.seal(b"") != client.tunnel(2).sealer.seal(b"")


def test_an_admission_admits_once_and_yields_the_seals_of_its_connection() -> None:
    pair = Pair()
    for _ in range(3):
        admission = pair.client.next(os.urandom(12))
        assert len(admission.data) == ADMISSION_SIZE
        found = pair.register.check(admission.data + b"what follows")
        assert found
        owner, seals = found
        assert owner == "owner"
        assert admission.seals.opener.open(seals.sealer.seal(b"target")) == b"target"
        assert pair.register.check(admission.data) is None


@given(st.integers(0, ADMISSION_SIZE * 8 - 1))
def test_a_changed_admission_admits_nothing(bit: int) -> None:
    pair = Pair()
    data = bytearray(pair.client.next(bytes(12)).data)
    data[bit // 8] ^= 1 << bit % 8
    assert pair.register.check(bytes(data)) is None
    data[bit // 8] ^= 1 << bit % 8
    assert pair.register.check(bytes(data))


def test_another_client_of_the_same_server_proves_nothing_about_this_session() -> None:
    pair = Pair()
    other = Admissions(keys(Side.CLIENT, os.urandom(32)), pair.session, pair.register.locator)
    assert pair.register.check(other.next(bytes(12)).data) is None


def test_nothing_is_admitted_after_the_session_has_ended() -> None:
    pair = Pair()
    data = pair.client.next(bytes(12)).data
    pair.register.forget(pair.session)
    assert pair.register.check(data) is None
    pair.register.enter(pair.register.reserve(), keys(Side.SERVER), "next")
    assert pair.register.check(data) is None
    pair.register.forget(pair.session)


def test_a_number_beyond_those_of_a_session_admits_nothing() -> None:
    pair = Pair()
    nonce, number = bytes(12), MAX_CONNECTIONS
    place = (pair.session << 64 | number) ^ int.from_bytes(derive(pair.register.locator, nonce)[:12])
    data = nonce + place.to_bytes(12) + keys(Side.CLIENT).prove(nonce, number)
    assert pair.register.check(data) is None


@pytest.mark.parametrize("size", [0, 1, ADMISSION_SIZE - 1])
def test_short_data_admits_nothing(size: int) -> None:
    assert Pair().register.check(bytes(size)) is None


def test_nothing_secret_is_printed() -> None:
    pair = Pair()
    assert repr(pair.register) == "Register(1)"
    assert repr(keys(Side.CLIENT)) == "SessionKeys(...)"
