"""The first records of a connection that resumes a session."""

import pytest

from backhaul.mux.greeting import (
    Answer,
    Greeting,
    encode_answer,
    encode_greeting,
    first_reader,
    frame,
    read_answer,
    read_greeting,
)
from backhaul.security import kinds
from backhaul.security.records import Cipher, Record, RecordError, Seals
from backhaul.security.session import SessionKeys, Side
from backhaul.wire import websocket

GREETING = Greeting(bytes(range(16)), 7, 1 << 40)
ANSWER = Answer(5, 1 << 63)
BOTH = pytest.mark.parametrize("messages", [False, True], ids=["stream", "messages"])


def seals(side: Side, *, payload: bool = False) -> Seals:
    return SessionKeys(bytes(32), side, Cipher.AES_128_GCM, payload=payload).tunnel(0)


def client_record(kind: int, body: bytes, *, messages: bool) -> bytes:
    return frame(seals(Side.CLIENT), kind, body, messages=messages, masked=True)


@BOTH
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_greeting_arrives_however_it_is_cut_and_nothing_after_it_is_read(*, messages: bool, size: int) -> None:
    data = client_record(kinds.RESUME, encode_greeting(GREETING), messages=messages) + b"frames"
    reader = first_reader(seals(Side.SERVER).opener, messages=messages, masked=True)
    for start in range(0, len(data), size):
        if record := reader.feed(data[start : start + size]):
            assert read_greeting(record) == GREETING
            assert record.rest + data[start + size :] == b"frames"
            return
    pytest.fail("no record")


@BOTH
@pytest.mark.parametrize(
    ("kind", "body", "answer"), [(kinds.RESUMED, encode_answer(ANSWER), ANSWER), (kinds.GONE, b"", None)]
)
def test_an_answer_arrives(*, messages: bool, kind: int, body: bytes, answer: Answer | None) -> None:
    data = frame(seals(Side.SERVER), kind, body, messages=messages, masked=False)
    record = first_reader(seals(Side.CLIENT).opener, messages=messages, masked=False).feed(data)
    assert record
    assert read_answer(record) == answer


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (kinds.DATA, encode_greeting(GREETING)),
        (kinds.RESUME, b"short"),
        (kinds.RESUME, encode_greeting(GREETING) + b"x"),
    ],
)
def test_other_records_are_no_greetings(kind: int, body: bytes) -> None:
    with pytest.raises(RecordError):
        read_greeting(Record(kind, body, b""))


@pytest.mark.parametrize(("kind", "body"), [(kinds.RESUME, bytes(16)), (kinds.RESUMED, bytes(15))])
def test_other_records_are_no_answers(kind: int, body: bytes) -> None:
    with pytest.raises(RecordError):
        read_answer(Record(kind, body, b""))


@pytest.mark.parametrize(
    "data",
    [
        websocket.encode(websocket.TEXT, bytes(20), masked=True),
        websocket.encode(websocket.CLOSE, b"", masked=True),
        websocket.encode(websocket.BINARY, seals(Side.CLIENT).sealer.seal(b""), masked=True),
        websocket.encode(websocket.BINARY, bytes(20), masked=True),
    ],
    ids=["text", "close", "empty", "altered"],
)
def test_other_messages_are_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        first_reader(seals(Side.SERVER).opener, messages=True, masked=True).feed(data)


def test_pings_before_a_greeting_are_ignored() -> None:
    ping = websocket.encode(websocket.PING, b"?", masked=True)
    data = ping + client_record(kinds.RESUME, encode_greeting(GREETING), messages=True)
    assert first_reader(seals(Side.SERVER).opener, messages=True, masked=True).feed(data)
