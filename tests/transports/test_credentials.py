"""The tokens of clients on the server, and those of a client itself."""

import logging

import pytest

from backhaul.transports.auth import UNNAMED, Credentials, OwnTokens

CREDENTIALS = Credentials({UNNAMED: ["first", "next"], "berlin": ["a longer second"]})


@pytest.mark.parametrize(
    ("token", "name"), [(b"first", UNNAMED), (b"next", UNNAMED), (memoryview(b"a longer second"), "berlin")]
)
def test_a_token_selects_its_client(token: bytes | memoryview, name: str) -> None:
    found = CREDENTIALS.find(token)
    assert found
    assert (found.name, found.token) == (name, bytes(token))


@pytest.mark.parametrize("presented", [b"", b"firs", b"first ", b"FIRST", b"berlin", b"firstnext"])
def test_other_texts_than_tokens_select_no_client(presented: bytes) -> None:
    assert CREDENTIALS.find(presented) is None


def test_the_lengths_of_tokens_are_known_beforehand() -> None:
    assert CREDENTIALS.sizes == {5, 4, 15}


def test_a_client_tries_its_tokens_in_turn_and_stays_with_one_that_is_accepted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    tokens = OwnTokens(["new", "old"])
    assert [tokens.current, tokens.current] == [b"new", b"new"]
    tokens.refused()
    assert tokens.current == b"old"
    assert "token 1 of 2 may be refused; the next attempt shows token 2" in caplog.text
    tokens.refused()
    assert tokens.current == b"new"


def test_the_only_token_stays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tokens = OwnTokens(["only"])
    tokens.refused()
    assert tokens.current == b"only"
    assert not caplog.text


def test_tokens_are_not_printed() -> None:
    found = CREDENTIALS.find(b"first")
    for shown in (repr(CREDENTIALS), str(CREDENTIALS), repr(found), repr(OwnTokens(["first"]))):
        assert "first" not in shown
        assert "second" not in shown
