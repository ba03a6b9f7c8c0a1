"""The log of attempts to connect that fail."""

import logging

import pytest

from backhaul.errors import TransportError
from backhaul.tunnel.failed_attempts import FailedAttempts

REFUSED = TransportError("is the token right?")


@pytest.fixture
def attempts(caplog: pytest.LogCaptureFixture) -> FailedAttempts:
    caplog.set_level(logging.INFO)
    return FailedAttempts(patience=10)


def test_a_failure_is_an_error(attempts: FailedAttempts, caplog: pytest.LogCaptureFixture) -> None:
    attempts.add("server:443", REFUSED, 1)
    assert caplog.record_tuples == [
        ("backhaul.client", logging.ERROR, "can't connect to server:443: is the token right?")
    ]


def test_just_after_a_change_it_is_none(attempts: FailedAttempts, caplog: pytest.LogCaptureFixture) -> None:
    attempts.excuse(1)
    for now in (1, 10, 11):
        attempts.add("server:443", REFUSED, now)
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.INFO, logging.ERROR]
    assert "token" not in "".join(caplog.messages[:2])


def test_a_server_that_is_away_is_named_at_once(attempts: FailedAttempts, caplog: pytest.LogCaptureFixture) -> None:
    attempts.excuse(1)
    attempts.add("server:443", ConnectionRefusedError(111, "Connection refused"), 1)
    assert caplog.messages == ["can't connect to server:443: connection refused"]


def test_a_lack_of_memory_has_a_line_without_a_trace(
    attempts: FailedAttempts, caplog: pytest.LogCaptureFixture
) -> None:
    attempts.crashed(MemoryError())
    assert caplog.messages[0].startswith("out of memory or threads; reconnecting")
    attempts.crashed(ZeroDivisionError())
    assert [record.exc_info is None for record in caplog.records] == [True, False]


def test_equal_failures_are_logged_seldom(attempts: FailedAttempts, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(4):
        attempts.add("server:443", REFUSED, 1)
    assert len(caplog.messages) == 3
    attempts.forget()
    attempts.add("server:443", REFUSED, 1)
    assert caplog.messages[-1] == caplog.messages[0]
