"""Requests for health checks, and their outcomes."""

import msgspec
import pytest

from backhaul.wire.checks import (
    MAX_INTERVAL,
    MAX_PATH,
    MAX_PREFACE,
    Check,
    Health,
    encode_check,
    encode_health,
    read_check,
    read_health,
)
from backhaul.wire.messages import MAX_REASON, MessageError
from backhaul.wire.targets import MAX_TARGET

CHECK = Check(1, "web.example:8080", "/healthz", 5, 2, 1)
HEALTH = Health(1, healthy=False, reason="connection refused")


@pytest.mark.parametrize(
    "check", [CHECK, msgspec.structs.replace(CHECK, path="", interval=0, padding=b"pad", preface=b"\x00")]
)
def test_a_check_is_read_as_it_was_written(check: Check) -> None:
    assert read_check(encode_check(check)) == check


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "a" * (MAX_TARGET + 1)},
        {"target": "a\n:80"},
        {"path": "/" + "a" * MAX_PATH},
        {"path": "/a b"},
        {"path": "/\x1b"},
        {"interval": -1},
        {"interval": MAX_INTERVAL + 1},
        {"rise": 0},
        {"fall": 101},
        {"preface": b"a" * (MAX_PREFACE + 1)},
    ],
)
def test_an_impossible_check_ends_the_channel(changes: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        read_check(encode_check(msgspec.structs.replace(CHECK, **changes)))


def test_an_outcome_is_read_as_it_was_written() -> None:
    assert read_health(encode_health(HEALTH)) == HEALTH


def test_a_long_reason_is_cut() -> None:
    assert read_health(encode_health(Health(1, healthy=False, reason="a" * 500))).reason == "a" * MAX_REASON


def test_a_reason_that_cannot_be_logged_ends_the_channel() -> None:
    with pytest.raises(MessageError):
        read_health(encode_health(Health(1, healthy=False, reason="\x1b[2J")))


def test_nonsense_ends_the_channel() -> None:
    with pytest.raises(MessageError):
        read_check(b"\xff")
    with pytest.raises(MessageError):
        read_health(b"\xff")
