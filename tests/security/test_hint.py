"""The hint before a first message."""

import os
from hashlib import blake2b
from typing import NamedTuple

from backhaul.security.hint import HINT_SIZE, hint_function, matching, with_hint
from backhaul.security.noise import KEY_SIZE


class Client(NamedTuple):
    name: int
    hint: blake2b


KEYS = [bytes([number]) * KEY_SIZE for number in range(100)]
CLIENTS = [Client(number, hint_function(key)) for number, key in enumerate(KEYS)]


def names(data: bytes) -> list[int]:
    found = matching(CLIENTS, data[:HINT_SIZE], data[HINT_SIZE : HINT_SIZE + KEY_SIZE])
    return [client.name for client in found]


def test_a_hint_finds_its_key_among_others_each_time() -> None:
    message = os.urandom(200)
    data = with_hint(KEYS[42], message)
    assert data[HINT_SIZE:] == message
    assert names(data) == names(data) == [42]


def test_a_hint_belongs_to_one_ephemeral_key() -> None:
    data = bytearray(with_hint(KEYS[42], os.urandom(200)))
    data[HINT_SIZE + KEY_SIZE - 1] ^= 1
    assert names(bytes(data)) == []


def test_hints_of_one_client_have_nothing_in_common() -> None:
    hints = {with_hint(KEYS[42], os.urandom(KEY_SIZE))[:HINT_SIZE] for _ in range(1000)}
    assert len(hints) == 1000


def test_the_hint_of_a_strange_key_finds_nothing() -> None:
    assert names(with_hint(os.urandom(KEY_SIZE), os.urandom(200))) == []


def test_a_message_that_is_too_short_for_a_hint_finds_nothing() -> None:
    assert names(b"") == names(b"short") == []
