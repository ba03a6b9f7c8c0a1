"""Pre-shared keys made of tokens."""

import pytest

from backhaul.security.noise import KEY_SIZE
from backhaul.security.psk import is_strong, pre_shared_key
from backhaul.system.token import make_token


def test_each_token_has_a_key_of_its_own() -> None:
    tokens = [make_token().encode(), make_token().encode(), b"musix", b"musix2", b""]
    keys = [pre_shared_key(token) for token in tokens]
    assert len(set(keys)) == len(tokens)
    assert {len(key) for key in keys} == {KEY_SIZE}
    assert keys == [pre_shared_key(token) for token in tokens]


@pytest.mark.parametrize(("token", "strong"), [(b"bh1_" + b"A" * 43, True), (b"bh1_short", False), (b"a" * 60, False)])
def test_only_generated_tokens_are_strong(token: bytes, *, strong: bool) -> None:
    assert is_strong(token) is strong


def test_generated_tokens_are_strong() -> None:
    assert is_strong(make_token().encode())
