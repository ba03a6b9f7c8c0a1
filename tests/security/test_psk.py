"""Pre-shared keys made of tokens."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backhaul.security.noise import KEY_SIZE
from backhaul.security.psk import AT_ONCE, is_strong, pre_shared_key
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


def test_no_more_keys_than_a_few_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most, change = 0, 0, threading.Condition()

    def scrypt(password: bytes, **_options: object) -> bytes:
        nonlocal at_work, most
        with change:
            at_work += 1
            most = max(most, at_work)
            change.notify_all()
            change.wait_for(lambda: at_work > AT_ONCE, 0.1)
            at_work -= 1
        return password

    monkeypatch.setattr("hashlib.scrypt", scrypt)
    tokens = [b"at once %d" % number for number in range(3 * AT_ONCE)]
    with ThreadPoolExecutor(len(tokens)) as threads:
        assert list(threads.map(pre_shared_key, tokens)) == tokens
    assert most <= AT_ONCE
