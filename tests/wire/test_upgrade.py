"""The upgrade, compared with the RFC's example, the recorded Go program, and answers of proxies and other servers."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.heads import with_header

from backhaul.wire import upgrade
from backhaul.wire.http1 import Request, RequestReader
from backhaul.wire.upgrade import (
    USER_AGENTS,
    Answer,
    AnswerReader,
    Asked,
    UpgradeError,
    accept,
    bearer,
    encode_key,
    is_direct_v072,
    key_of,
    message_line,
    padding_line,
    sealed_message,
    sealed_request,
    sec_accept,
    upgrade_problem,
)

TRANSCRIPTS = json.loads((Path(__file__).parents[1] / "data" / "transcripts.json").read_text())
TOKEN = b"s3cret"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MESSAGE = bytes(range(200, 256)) * 3
READ_BUFFER = 4096  # of v0.7.2's client


def asked(key: bytes = KEY) -> Asked:
    host = "tunnel.example:443"
    agent = USER_AGENTS[0]
    return Asked(path="/channel", host=host, default_port=443, key=key, user_id=740545185, user_agent=agent)


def make_request(*, token: bytes = TOKEN, key: bytes = KEY) -> bytes:
    return upgrade.request(asked(key), token)


def make_sealed(message: bytes = MESSAGE) -> bytes:
    return sealed_request(asked(), message)


def read_request(data: bytes) -> Request:
    """Feed ``data`` at once, and its head byte by byte; check that both give the same."""
    request = RequestReader().feed(data)
    assert request is not None
    reader = RequestReader()
    head = data[: len(data) - len(request.rest)]
    found = [reader.feed(head[index : index + 1]) for index in range(len(head))]
    assert found == [None] * (len(head) - 1) + [replace(request, rest=b"")]
    return request


def read_answer(data: bytes, *, key: bytes = KEY) -> Answer:
    answer = AnswerReader(key).feed(data)
    assert answer is not None
    reader = AnswerReader(key)
    head = data[: len(data) - len(answer.rest)]
    found = [reader.feed(head[index : index + 1]) for index in range(len(head))]
    assert found == [None] * (len(head) - 1) + [answer._replace(rest=b"")]
    return answer


def recorded(transport: str, start: str) -> Iterator[bytes]:
    """Yield the heads of v0.7.2 that begin with ``start``."""
    for event in TRANSCRIPTS[transport]["events"]:
        if event.get("http", "").startswith(start):
            yield "\r\n".join([event["http"], *event["headers"], "", ""]).encode()


def test_accept_key_of_rfc_6455() -> None:
    assert encode_key(b"the sample nonce") == KEY
    assert sec_accept(KEY) == ACCEPT


@pytest.mark.parametrize("transport", ["ws", "wsmux"])
def test_requests_of_the_recorded_go_client_are_accepted(transport: str) -> None:
    requests = [read_request(head) for head in recorded(transport, "GET")]
    assert requests[0].path == "/channel"
    assert all(request.path.startswith("/tunnel/") for request in requests[1:])
    for request in requests:
        assert not upgrade_problem(request)
        assert bearer(request) == TOKEN
        assert not sealed_message(request)
        assert is_direct_v072(request)


@pytest.mark.parametrize("transport", ["ws", "wsmux"])
def test_answers_equal_those_of_the_recorded_go_server(transport: str) -> None:
    requests = [read_request(head) for head in recorded(transport, "GET")]
    answers = list(recorded(transport, "HTTP/1.1 101"))
    assert sorted(accept(key_of(request)) for request in requests) == sorted(answers)
    for request in requests:
        assert read_answer(accept(key_of(request)), key=key_of(request)) == Answer(message=b"", rest=b"")


def test_the_request_equals_the_recorded_one_except_for_extensions() -> None:
    theirs = next(recorded("ws", "GET")).split(b"\r\n")
    ours = make_request().split(b"\r\n")
    names = [[line.partition(b":")[0] for line in lines] for lines in (ours, theirs)]
    names[1].remove(b"Sec-WebSocket-Extensions")
    assert names[0] == names[1]
    same = {b"GET /channel HTTP/1.1", b"Authorization: Bearer s3cret", b"Connection: Upgrade", b"Upgrade: websocket"}
    same |= {b"Sec-WebSocket-Version: 13", b"X-User-Id: 740545185"}
    assert same <= set(ours) & set(theirs)


def test_a_request_with_the_token_has_no_message() -> None:
    request = read_request(make_request())
    assert (request.method, request.path, key_of(request)) == (b"GET", "/channel", KEY)
    assert request.headers[b"host"] == b"tunnel.example:443"
    assert not upgrade_problem(request)
    assert bearer(request) == TOKEN
    assert not sealed_message(request)
    assert not is_direct_v072(request)


def test_a_sealed_request_and_its_answer_hold_messages_and_no_token() -> None:
    request = read_request(make_sealed())
    assert sealed_message(request) == MESSAGE
    assert b"x-user-id" not in request.headers
    assert not upgrade_problem(request)
    assert bearer(request) is None
    assert not is_direct_v072(request)
    first_record = b"\x82\x01\x00"
    answer = accept(key_of(request), message_line(MESSAGE[::-1]))
    assert read_answer(answer + first_record) == Answer(message=MESSAGE[::-1], rest=first_record)


@given(st.binary(min_size=1))
def test_any_message_is_passed(message: bytes) -> None:
    request = RequestReader().feed(make_sealed(message))
    assert request
    assert sealed_message(request) == message
    assert AnswerReader(KEY).feed(accept(KEY, message_line(message))) == Answer(message, b"")


def test_messages_survive_proxies_that_add_and_reorder() -> None:
    lines = make_sealed().split(b"\r\n")[1:-2]
    cookie = next(line for line in lines if line.startswith(b"Cookie"))
    name, _, value = cookie.partition(b": ")
    moved = [b"X-Forwarded-For: 192.0.2.1", *sorted(set(lines) - {cookie}), name.lower() + b": _cf=1; " + value]
    request = read_request(b"\r\n".join([b"GET /channel HTTP/1.1", *moved, b"", b""]))
    assert sealed_message(request) == MESSAGE
    line = message_line(MESSAGE)
    for lines_of_answer in (b"Set-Cookie: _cf=1; Path=/\r\n" + line, line + b"Set-Cookie: _cf=1; Path=/\r\n"):
        answer = with_header(accept(KEY, lines_of_answer), b"Server", b"nginx")
        assert read_answer(answer).message == MESSAGE


@pytest.mark.parametrize("sticky", [b"session=c2VydmVyLTE", b"session=s1"])
def test_a_cookie_with_which_a_proxy_finds_the_server_again_hides_no_message(sticky: bytes) -> None:
    cookie = read_request(make_sealed()).headers[b"cookie"]
    line = message_line(MESSAGE)
    for both in (sticky + b"; " + cookie, cookie + b"; " + sticky):
        assert sealed_message(read_request(with_header(make_sealed(), b"Cookie", both))) == MESSAGE
    for lines in (b"Set-Cookie: " + sticky + b"; path=/\r\n" + line, line + b"Set-Cookie: " + sticky + b"\r\n"):
        assert read_answer(accept(KEY, lines)).message == MESSAGE


@pytest.mark.parametrize(
    ("host", "default_port", "sent"),
    [
        ("tunnel.example:443", 443, b"tunnel.example"),
        ("tunnel.example:80", 80, b"tunnel.example"),
        ("tunnel.example:80", 443, b"tunnel.example:80"),
        ("tunnel.example:8443", 443, b"tunnel.example:8443"),
        ("[2001:db8::443]:443", 443, b"[2001:db8::443]"),
    ],
)
def test_a_sealed_request_names_no_default_port(host: str, default_port: int, sent: bytes) -> None:
    names = replace(asked(), host=host, default_port=default_port)
    assert read_request(sealed_request(names, MESSAGE)).headers[b"host"] == sent
    assert read_request(upgrade.request(names, TOKEN)).headers[b"host"] == host.encode()  # as v0.7.2 does


def test_a_session_of_a_website_hides_no_message() -> None:
    cookie = read_request(make_sealed()).headers[b"cookie"]
    both = with_header(make_sealed(), b"Cookie", b"session=a; other=b; " + cookie)
    assert sealed_message(read_request(both)) == MESSAGE


@pytest.mark.parametrize(
    "cookie",
    [
        b"",
        b"session=",
        b"session=a",
        b"session",
        b"sessions=QUJD",
        b"other=QUJD; a=b",
        b"session=a+b/",
        b"session=a*bc",
    ],
)
def test_other_cookies_have_no_message(cookie: bytes) -> None:
    assert sealed_message(read_request(with_header(make_request(), b"Cookie", cookie))) == b""
    assert read_answer(accept(KEY, b"Set-Cookie: " + cookie + b"\r\n")).message == b""


@given(st.binary().filter(lambda value: not set(value) & set(b"\r\n")))
def test_any_cookie_gets_a_verdict(value: bytes) -> None:
    headers = {b"cookie": b"session=" + value}
    assert len(sealed_message(Request(b"GET", "/", headers, b""))) <= len(value)


@pytest.mark.parametrize("key", [KEY, encode_key(bytes(16)), encode_key(b"\xff" * 16)])
def test_padding_fills_the_read_buffer_of_the_go_client(key: bytes) -> None:
    answer = accept(key, padding_line(key))
    last_line_at = answer[:-4].rindex(b"\r\n") + 2
    assert len(answer) - last_line_at == READ_BUFFER
    smux = b"\x01\x00\x00\x00\x03\x00\x00\x00"
    assert read_answer(answer + smux, key=key).rest == smux


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (b"Bearer s3cret", True),
        (b"Bearer s3cret2", False),
        (b"Bearer s3cre", False),
        (b"bearer s3cret", False),
        (b"s3cret", False),
        (b"Bearer", False),
        (b"", False),
        (None, False),
    ],
)
def test_the_token_must_be_right(value: bytes | None, *, right: bool) -> None:
    request = read_request(with_header(make_request(), b"Authorization", value))
    assert (bearer(request) == TOKEN) is right


def test_two_tokens_are_no_token() -> None:
    head = make_request().replace(b"Connection:", b"Authorization: Bearer s3cret\r\nConnection:")
    assert bearer(read_request(head)) != TOKEN


@pytest.mark.parametrize("token", ["a longer token with spaces: yes", "münchen", "令牌"])
def test_tokens_of_any_script(token: str) -> None:
    request = read_request(make_request(token=token.encode()))
    assert bearer(request) == token.encode()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (b"Connection", b"keep-alive", "proxy"),
        (b"Connection", None, "proxy"),
        (b"Upgrade", b"h2c", "proxy"),
        (b"Upgrade", None, "proxy"),
        (b"Sec-WebSocket-Version", b"8", "version"),
        (b"Sec-WebSocket-Version", None, "version"),
        (b"Sec-WebSocket-Key", None, "16 bytes"),
        (b"Sec-WebSocket-Key", b"c2hvcnQ=", "16 bytes"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ", "16 bytes"),
        (b"Sec-WebSocket-Key", "ünsinn".encode(), "16 bytes"),
    ],
)
def test_requests_without_an_upgrade(name: bytes, value: bytes | None, reason: str) -> None:
    assert reason in upgrade_problem(read_request(with_header(make_request(), name, value)))


def test_only_get_upgrades() -> None:
    assert upgrade_problem(read_request(make_request().replace(b"GET ", b"POST ", 1))) == "the method is not GET"


def test_tokens_of_a_list_in_any_case_are_found() -> None:
    head = with_header(make_request(), b"cOnnection", b"keep-alive, UPGRADE")
    assert not upgrade_problem(read_request(with_header(head, b"Upgrade", b"h2c,WebSocket")))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (b"Upgrade", None, "not WebSocket"),
        (b"Upgrade", b"h2c", "not WebSocket"),
        (b"Connection", b"close", "not WebSocket"),
        (b"Sec-WebSocket-Accept", None, "answers another request"),
        (b"Sec-WebSocket-Accept", sec_accept(encode_key(bytes(16))), "answers another request"),
        (b"Sec-WebSocket-Extensions", b"permessage-deflate", "not offered"),
        (b"No colon", b"", "not valid HTTP"),
    ],
)
def test_answers_that_switch_wrongly(name: bytes, value: bytes | None, text: str) -> None:
    with pytest.raises(UpgradeError, match=text):
        AnswerReader(KEY).feed(with_header(accept(KEY), name, value))


def test_answers_in_another_form_are_understood() -> None:
    head = accept(KEY).replace(b"Switching Protocols", b"Web Socket Protocol Handshake")
    head = with_header(with_header(head, b"UPGRADE", b"WebSocket"), b"connection", b"keep-alive, upgrade")
    assert read_answer(with_header(head, b"Sec-WebSocket-Extensions", b"")) == Answer(message=b"", rest=b"")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"\x16", "the answer is not valid HTTP: are remote_addr and transport right"),
        (b"HTTP/1.1 101\r\nPad: " + b"x" * 16384, "more than 16384 bytes of HTTP headers: are remote_addr"),
    ],
)
def test_answers_in_another_protocol(answer: bytes, text: str) -> None:
    with pytest.raises(UpgradeError, match=text):
        AnswerReader(KEY).feed(answer)


@given(start=st.sampled_from([b"HTTP/1.1 101 ", b"HTTP/1.1 ", b""]), middle=st.binary())
def test_garbage_raises_only_the_documented_error(start: bytes, middle: bytes) -> None:
    with suppress(UpgradeError):
        AnswerReader(KEY).feed(start + middle + b"\r\n\r\n")


@given(key=st.binary(max_size=40))
def test_any_key_gets_a_verdict(key: bytes) -> None:
    headers = {b"connection": b"Upgrade", b"upgrade": b"websocket", b"sec-websocket-version": b"13"}
    problem = upgrade_problem(Request(b"GET", "/", {**headers, b"sec-websocket-key": key}, b""))
    assert not problem or "Sec-WebSocket-Key" in problem


def test_any_nonce_makes_a_valid_key() -> None:
    for _ in range(20):
        request = read_request(make_request(key=encode_key(os.urandom(16))))
        assert not upgrade_problem(request)
