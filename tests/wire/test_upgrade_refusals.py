"""Answers to an upgrade that refuse it, of servers, web servers and proxies in between."""

import pytest
from tests.support.heads import with_header

from backhaul.errors import retry_after
from backhaul.wire.upgrade import AnswerReader, RefusedError, UpgradeError

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3


def refusal(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 12\r\nServer: nginx\r\n\r\nunauthorized".encode()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("401 Unauthorized", "the server refused the token"),
        ("404 Not Found", "answered 404 instead of switching to WebSocket: are token, remote_addr, path and transport"),
        ("404 Not Found", "right, and does a proxy in between pass WebSockets?"),
        ("400 Bad Request", "answered 400 instead of switching to WebSocket: are token"),
        ("200 OK", "answered 200 instead of switching"),
        ("301 Moved Permanently", "answered 301 instead of switching"),
    ],
)
def test_answers_that_refuse(status: str, text: str) -> None:
    with pytest.raises(RefusedError, match=text):
        AnswerReader(KEY).feed(refusal(status))


@pytest.mark.parametrize(
    "body",
    [
        b"<center>The plain HTTP request was sent to HTTPS port</center>",  # nginx
        b"Client sent an HTTP request to an HTTPS server.\n",  # Go's net/http, and so Caddy
        b"Instead use the HTTPS scheme to access this URL, please.<br />",  # Apache
    ],
)
def test_a_port_that_expects_tls(body: bytes) -> None:
    with pytest.raises(RefusedError, match=r"answered 400 instead .* use TLS \(wss, wssmux\)\?"):
        AnswerReader(KEY).feed(refusal("400 Bad Request") + body)


def test_a_proxy_that_demands_a_client_certificate() -> None:
    body = b"<center>No required SSL certificate was sent</center>"  # nginx
    with pytest.raises(RefusedError, match="should a proxy in between exempt the tunnel from client certificates"):
        AnswerReader(KEY).feed(refusal("400 Bad Request") + body)


def test_a_proxy_that_demands_a_login() -> None:
    with pytest.raises(RefusedError, match="demands a login: should it exempt the path"):
        AnswerReader(KEY).feed(with_header(refusal("401 Unauthorized"), b"WWW-Authenticate", b'Basic realm="x"'))


def test_a_refusal_without_its_hint() -> None:
    with pytest.raises(RefusedError) as raised:
        AnswerReader(KEY).feed(refusal("404 Not Found"))
    assert raised.value.what == "the server answered 404 instead of switching to WebSocket"
    assert raised.value.hint.startswith("are token, remote_addr")


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (b"https://www.example.com/login", "the server redirects to https://www.example.com/login: are remote_addr"),
        (b"/\x85", r"redirects to \(unreadable\): are remote_addr"),
        (b"x" * 300, "redirects to x{200}: are remote_addr"),
    ],
)
def test_a_redirect_names_its_location(location: bytes, text: str) -> None:
    answer = refusal("302 Found").replace(b"\r\n", b"\r\nLocation: " + location + b"\r\n", 1)
    with pytest.raises(RefusedError, match=text):
        AnswerReader(KEY).feed(answer)


def test_a_gateway_that_allows_no_more_connections_is_no_refusal() -> None:
    with pytest.raises(UpgradeError, match="allows no more connections now; set dial_rate") as raised:
        AnswerReader(KEY).feed(refusal("429 Too Many Requests"))
    assert not isinstance(raised.value, RefusedError)


def test_a_gateway_that_answers_503_may_limit_connections() -> None:
    with pytest.raises(UpgradeError, match="does not reach the server, or limits connections") as raised:
        AnswerReader(KEY).feed(refusal("503 Service Temporarily Unavailable"))
    assert not isinstance(raised.value, RefusedError)


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize(
    ("value", "seconds"), [(b"120", 120), (b"0", 0), (b"Fri, 31 Dec 1999 23:59:59 GMT", 0), (b"9" * 10, 0), (b"-1", 0)]
)
def test_a_gateway_may_ask_for_a_pause(status: str, value: bytes, seconds: float) -> None:
    with pytest.raises(UpgradeError) as raised:
        AnswerReader(KEY).feed(with_header(refusal(status), b"Retry-After", value))
    assert retry_after(raised.value) == seconds


def test_no_other_error_asks_for_a_pause() -> None:
    assert not retry_after(UpgradeError("unknown"))
    assert not retry_after(OSError(111, "Connection refused"))


@pytest.mark.parametrize(
    "status",
    ["500 Internal Server Error", "502 Bad Gateway", "504 Gateway Timeout", "522 Origin Timed Out", "530 Whatever"],
)
def test_a_gateway_that_does_not_reach_the_server_is_no_refusal(status: str) -> None:
    with pytest.raises(UpgradeError, match=f"a proxy in between answered {status[:3]}") as raised:
        AnswerReader(KEY).feed(refusal(status))
    assert not isinstance(raised.value, RefusedError)
