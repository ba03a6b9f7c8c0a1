"""The hint before a first message."""

import os
from typing import NamedTuple

from backhaul.security.hint import BLIND_SIZE, HINT_SIZE, HintTable, with_hint
from backhaul.security.noise import KEY_SIZE


class Client(NamedTuple):
    name: int
    psk: bytes


CLIENTS = [Client(number, bytes([number]) * KEY_SIZE) for number in range(100)]
TABLE = HintTable(((client, client.psk) for client in CLIENTS), os.urandom(BLIND_SIZE))


def found(data: bytes, table: HintTable[Client] = TABLE) -> Client | None:
    return table.find(data[:HINT_SIZE], data[HINT_SIZE : HINT_SIZE + KEY_SIZE])


def test_a_hint_finds_its_key_among_others_each_time() -> None:
    for client in CLIENTS:
        message = os.urandom(200)
        data = with_hint(client.psk, message)
        assert data[HINT_SIZE:] == message
        assert found(data) is found(data) is client


def test_a_hint_belongs_to_one_ephemeral_key() -> None:
    data = bytearray(with_hint(CLIENTS[42].psk, os.urandom(200)))
    data[HINT_SIZE + KEY_SIZE - 1] ^= 1
    assert found(bytes(data)) is None


def test_each_bit_of_a_hint_counts() -> None:
    whole = with_hint(CLIENTS[42].psk, os.urandom(200))
    for bit in range(8 * HINT_SIZE):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        assert found(bytes(data)) is None


def test_hints_of_one_client_have_nothing_in_common() -> None:
    hints = {with_hint(CLIENTS[42].psk, os.urandom(KEY_SIZE))[:HINT_SIZE] for _ in range(1000)}
    assert len(hints) == 1000


def test_the_hint_of_a_strange_key_finds_nothing() -> None:
    assert found(with_hint(os.urandom(KEY_SIZE), os.urandom(200))) is None


def test_a_key_that_two_have_finds_the_first_one() -> None:
    twins = HintTable([(CLIENTS[number], CLIENTS[7].psk) for number in (1, 2)], os.urandom(BLIND_SIZE))
    assert found(with_hint(CLIENTS[7].psk, os.urandom(200)), twins) is CLIENTS[1]


def test_a_table_without_keys_finds_nothing() -> None:
    empty: HintTable[Client] = HintTable([], os.urandom(BLIND_SIZE))
    assert found(with_hint(CLIENTS[42].psk, os.urandom(200)), empty) is None


def test_a_message_that_is_too_short_for_a_hint_finds_nothing() -> None:
    whole = with_hint(CLIENTS[42].psk, os.urandom(200))
    for size in range(HINT_SIZE):
        assert found(whole[:size]) is None


def test_no_secret_is_shown() -> None:
    assert repr(TABLE) == "HintTable(100)"
