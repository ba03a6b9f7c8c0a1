"""The typed messages of a sealed control channel."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backhaul.wire.messages import (
    IDENTITY_SIZE,
    MAX_COUNT,
    MAX_REASON,
    Message,
    MessageError,
    Refusal,
    encode_refusal,
    encode_request,
    read_ended,
    read_message,
    read_refusal,
    read_request,
)
from backhaul.wire.signals import Signal
from backhaul.wire.targets import MAX_TARGET


@pytest.mark.parametrize("signal", Signal)
def test_a_message_keeps_its_body(signal: Signal) -> None:
    assert read_message(signal, b"body") == [Message(signal, b"body")]


@pytest.mark.parametrize("kind", [max(Signal) + 1, 255])
def test_a_message_of_a_later_version_is_ignored(kind: int) -> None:
    assert read_message(kind, b"body") == []


def test_a_refusal_arrives_as_it_was() -> None:
    body = encode_refusal("127.0.0.1:22", "not in allowed_targets", bytes(30))
    assert read_refusal(body) == Refusal("127.0.0.1:22", "not in allowed_targets", bytes(30))


def test_texts_that_are_too_long_are_cut() -> None:
    refusal = read_refusal(encode_refusal("t" * (MAX_TARGET + 1), "r" * (MAX_REASON + 1), b""))
    assert refusal == Refusal("t" * MAX_TARGET, "r" * MAX_REASON)


def test_fields_of_a_later_version_are_ignored() -> None:
    assert read_refusal(msgspec.msgpack.encode(["a:1", "why", b"", "later"])) == Refusal("a:1", "why")


@pytest.mark.parametrize(
    "fields",
    [
        ["t" * (MAX_TARGET + 1), "why"],
        ["a:1", "r" * (MAX_REASON + 1)],
        ["a:1\n", "why"],
        ["a:1", "\x1b[31mwhy"],
    ],
)
def test_texts_that_can_not_be_logged_are_refused(fields: list[str]) -> None:
    with pytest.raises(MessageError, match="can't be logged"):
        read_refusal(msgspec.msgpack.encode(fields))


@given(st.binary())
@example(b"\x92\xa1\xff\xa0")  # no UTF-8
@example(b"\x94\xa0\xa0\xc4\x00" + b"\x91" * 9999)  # nested in an element of a later version
def test_other_bodies_raise_the_announced_error(body: bytes) -> None:
    try:
        refusal = read_refusal(body)
    except MessageError:
        return
    assert refusal.target.isprintable()
    assert refusal.reason.isprintable()


@pytest.mark.parametrize("count", [0, 1, MAX_COUNT])
def test_a_request_tells_the_number_of_connections(count: int) -> None:
    assert read_request(encode_request(count, bytes(5))) == count


def test_a_request_without_a_number_is_refused() -> None:
    with pytest.raises(MessageError):
        read_request(b"\0")


def test_the_end_of_a_session_names_it_before_any_padding() -> None:
    identity = bytes(range(IDENTITY_SIZE))
    assert read_ended(identity) == read_ended(identity + b"padding") == identity


def test_the_end_of_a_session_without_a_name_is_refused() -> None:
    with pytest.raises(MessageError):
        read_ended(bytes(IDENTITY_SIZE - 1))
