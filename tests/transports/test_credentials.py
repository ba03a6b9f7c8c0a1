"""The search for the client that a token belongs to."""

from backhaul.transports.auth import UNNAMED, Credentials

CREDENTIALS = Credentials({UNNAMED: "first", "berlin": "a longer second"})


def test_a_token_selects_its_client() -> None:
    assert CREDENTIALS.find(b"first") == UNNAMED
    assert CREDENTIALS.find(memoryview(b"a longer second")) == "berlin"
    assert CREDENTIALS.token("berlin") == b"a longer second"
    assert CREDENTIALS.longest == len(b"a longer second")


def test_other_bytes_select_no_client() -> None:
    for presented in (b"", b"firs", b"first ", b"FIRST", b"berlin"):
        assert CREDENTIALS.find(presented) is None


def test_tokens_are_not_printed() -> None:
    assert "first" not in repr(CREDENTIALS)
    assert "second" not in str(CREDENTIALS)
