"""Heads of requests and answers: cut anywhere, broken, too long."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire.http1 import MAX_HEAD, MAX_HEADERS, HeadError, Request, RequestReader, Response, ResponseReader

GET = b"GET /page?query HTTP/1.1\r\nHost: a\r\nCookie: b\r\ncookie: c\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </page.css>; rel=preload\r\n\r\n"


def read(data: bytes) -> Request | Response:
    reader = RequestReader() if data.startswith(b"GET") else ResponseReader()
    head = reader.feed(data)
    assert head is not None
    return head


def test_a_request() -> None:
    request = RequestReader().feed(GET + b"early")
    assert request == Request(b"GET", "/page", {b"host": b"a", b"cookie": b"b, c"}, b"early", "query")


def test_an_answer() -> None:
    answer = ResponseReader().feed(SWITCHING + b"early")
    assert answer == Response(101, {b"upgrade": b"WebSocket"}, b"early")


def test_interim_answers_are_skipped() -> None:
    """RFC 9110, section 15.2: a client reads them before any answer; a proxy in between may send its own."""
    whole = b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS + SWITCHING
    assert read(whole + b"early") == read(SWITCHING + b"early")
    reader = ResponseReader()
    found = [reader.feed(whole[index : index + 1]) for index in range(len(whole))]
    assert found == [None] * (len(whole) - 1) + [read(SWITCHING)]


def test_an_endless_number_of_interim_answers_is_refused() -> None:
    reader = ResponseReader()
    for _ in range(5):
        assert reader.feed(HINTS) is None
    with pytest.raises(HeadError, match="more than 5 interim answers"):
        reader.feed(HINTS)


@pytest.mark.parametrize("head", [GET, SWITCHING], ids=["request", "answer"])
def test_heads_byte_by_byte(head: bytes) -> None:
    reader = RequestReader() if head is GET else ResponseReader()
    found = [reader.feed(head[index : index + 1]) for index in range(len(head))]
    assert found == [None] * (len(head) - 1) + [read(head)]


def test_the_repr_of_a_request_hides_headers_and_early_bytes() -> None:
    assert "secret" not in repr(read(b"GET / HTTP/1.1\r\nAuthorization: Bearer secret\r\n\r\nsecret"))


@pytest.mark.parametrize(
    "first", [b"\x16\x03\x01", b"\x00\x06\x01s3cret", b"\x01\x00\x00\x00", b"get / HTTP/1.1\r\n"], ids=repr
)
def test_another_protocol_is_refused_at_its_first_byte(first: bytes) -> None:
    with pytest.raises(HeadError, match="the request is not valid HTTP"):
        RequestReader().feed(first[:1])
    with pytest.raises(HeadError, match="the answer is not valid HTTP"):
        ResponseReader().feed(first[:1])


@pytest.mark.parametrize(
    "head",
    [
        b"NOT HTTP\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nName : blank before the colon\r\n\r\n",
        b"GET / HTTP/1.1\nHost: bare line feeds\n\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/3.0\r\n\r\n",
        b"GE\r\n\r\n",
    ],
    ids=repr,
)
def test_requests_that_are_not_valid(head: bytes) -> None:
    with pytest.raises(HeadError, match="not valid HTTP"):
        RequestReader().feed(head)


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1", b"HTTP/1.1 101 Switching Protocols"])
def test_limits(start: bytes) -> None:
    def feed(data: bytes) -> object:
        return RequestReader().feed(data) if start[0] == ord("G") else ResponseReader().feed(data)

    frame = len(start + b"\r\nPad: \r\n\r\n")
    fits = start + b"\r\nPad: " + b"x" * (MAX_HEAD - frame) + b"\r\n\r\n"
    assert len(fits) == MAX_HEAD
    assert feed(fits[:-1]) is None
    assert feed(fits + b"rest")
    assert feed(start + b"\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(MAX_HEADERS)) + b"\r\n")
    for too_long in (fits[:-4] + b"x\r\n\r\n", fits[:-4] + b"xxxxx"):
        with pytest.raises(HeadError, match="more than 16384 bytes"):
            feed(too_long)
    with pytest.raises(HeadError, match="more than 100 HTTP headers"):
        feed(start + b"\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n")


def mutations() -> st.SearchStrategy[bytes]:
    """Draw bytes near a valid head, and bytes far from one."""

    def mutate(head: bytes, at: int, new: bytes, skip: int) -> bytes:
        return head[: at % len(head)] + new + head[at % len(head) + skip :]

    near = st.builds(
        mutate, st.sampled_from([GET, SWITCHING]), st.integers(0, 5000), st.binary(max_size=6), st.integers(0, 6)
    )
    ended = st.builds(
        lambda start, middle: start + middle + b"\r\n\r\n", st.sampled_from([b"GET ", b"HTTP/1.1 "]), st.binary()
    )
    return st.one_of(near, ended, st.binary())


@given(chunks=st.lists(mutations(), max_size=3))
def test_garbage_raises_only_the_documented_error(chunks: list[bytes]) -> None:
    for reader in (RequestReader(), ResponseReader()):
        with suppress(HeadError):
            for chunk in chunks:
                if reader.feed(chunk) is not None:
                    break
