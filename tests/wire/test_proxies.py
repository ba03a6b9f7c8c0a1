"""The exchange with a proxy: requests, answers however they are cut, refusals, and nonsense."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire.http1 import MAX_HEAD
from backhaul.wire.proxies import Exchange, HttpExchange, Login, ProxyError, SocksExchange, Step

NO_LOGIN = Login()
KNOWN = Login("me", "swordfish")
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"
NO_METHOD, LOGIN_METHOD = b"\5\0", b"\5\2"
BOUND = b"\5\0\0\1" + bytes(6)
REST = b"the server's first bytes"


def http(login: Login = NO_LOGIN, host: str = "server.example") -> HttpExchange:
    exchange = HttpExchange(host, 3080, login)
    exchange.begin()
    return exchange


def socks(login: Login = NO_LOGIN, host: str = "server.example") -> SocksExchange:
    exchange = SocksExchange(host, 3080, login)
    exchange.begin()
    return exchange


def play(exchange: Exchange, data: bytes, size: int = 1 << 16) -> tuple[bytes, bytes]:
    """Feed ``data``, again from the first byte that was not taken; return the sent bytes and the remaining ones."""
    sent = b""
    while data:
        step = exchange.feed(data[:size])
        data = data[step.taken :]
        sent += step.send
        if step.done:
            return sent, data
    raise EOFError("not done")


def refusal(exchange: Exchange, answer: bytes) -> str:
    with pytest.raises(ProxyError) as caught:
        play(exchange, answer)
    return str(caught.value)


class TestHttp:
    @pytest.mark.parametrize(
        ("host", "authority"),
        [
            ("server.example", "server.example"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("bücher.example", "xn--bcher-kva.example"),
        ],
    )
    def test_the_request(self, host: str, authority: str) -> None:
        request = HttpExchange(host, 3080, NO_LOGIN).begin()
        assert request == f"CONNECT {authority}:3080 HTTP/1.1\r\nHost: {authority}:3080\r\n\r\n".encode()

    def test_a_login(self) -> None:
        request = HttpExchange("server.example", 3080, Login("me", "sword:fish")).begin()
        proof = base64.b64encode(b"me:sword:fish")
        assert request.endswith(b"\r\nProxy-Authorization: Basic " + proof + b"\r\n\r\n")

    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_no_byte_of_the_server_is_taken(self, size: int) -> None:
        assert play(http(), ESTABLISHED + REST, size) == (b"", REST)

    @pytest.mark.parametrize(
        ("login", "head", "problem"),
        [
            (NO_LOGIN, "407 x", "it requires a user name and a password (407 Proxy Authentication Required)"),
            (KNOWN, "407 x", "wrong user name or password (407 Proxy Authentication Required)"),
            (KNOWN, "407 x\r\nProxy-Authenticate: NTLM", "it requires an unsupported kind of login"),
            (KNOWN, "407 x\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic realm=a", "wrong user name"),
            (KNOWN, "403 x", "it allows no connection to server.example:3080 (403 Forbidden); many allow port 443"),
            (KNOWN, "502 x", "it can't reach server.example:3080 (502 Bad Gateway)"),
            (KNOWN, "302 x", "it refuses a connection to server.example:3080 (302 Found)"),
            (KNOWN, "599 x", "it refuses a connection to server.example:3080 (599)"),
        ],
    )
    def test_a_refusal(self, login: Login, head: str, problem: str) -> None:
        assert refusal(http(login), f"HTTP/1.1 {head}\r\n\r\n".encode()).startswith(problem)

    def test_an_interim_answer(self) -> None:
        answer = b"HTTP/1.1 102 Processing\r\n\r\n" + ESTABLISHED
        assert http().feed(answer + REST) == Step(len(answer), done=True)

    def test_an_answer_of_another_protocol_is_refused_at_its_first_byte(self) -> None:
        assert refusal(http(), b"\5") == "the answer is not valid HTTP"

    def test_an_endless_answer(self) -> None:
        assert "more than" in refusal(http(), ESTABLISHED[:-2] + b"x" * MAX_HEAD)


class TestSocks:
    def test_a_connection_without_a_login(self) -> None:
        exchange = SocksExchange("192.0.2.7", 3080, NO_LOGIN)
        assert exchange.begin() == b"\5\1\0"
        assert exchange.feed(NO_METHOD) == Step(2, b"\5\1\0\1\xc0\0\2\7\x0c\x08")
        assert exchange.feed(BOUND + REST) == Step(len(BOUND), done=True)

    def test_a_login(self) -> None:
        exchange = SocksExchange("a.example", 3080, KNOWN)
        assert exchange.begin() == b"\5\2\0\2"
        assert exchange.feed(LOGIN_METHOD) == Step(2, b"\1\2me\x09swordfish")
        assert exchange.feed(b"\1\0") == Step(2, b"\5\1\0\3\x09a.example\x0c\x08")
        assert exchange.feed(BOUND) == Step(len(BOUND), done=True)

    @pytest.mark.parametrize("bound", [BOUND, b"\5\0\0\4" + bytes(18), b"\5\0\0\3\2abxx", b"\5\0\0\3\0xx"])
    @pytest.mark.parametrize("size", [1, 3, 1000])
    def test_no_byte_of_the_server_is_taken(self, bound: bytes, size: int) -> None:
        sent, rest = play(socks(KNOWN), LOGIN_METHOD + b"\1\0" + bound + REST, size)
        assert rest == REST
        assert sent.count(b"swordfish") == 1

    @pytest.mark.parametrize(
        ("login", "answer", "problem"),
        [
            (NO_LOGIN, b"\5\xff", "it requires a user name and a password"),
            (KNOWN, b"\5\xff", "it requires an unsupported kind of login"),
            (KNOWN, LOGIN_METHOD + b"\1\1", "wrong user name or password"),
            (KNOWN, LOGIN_METHOD + b"\5\0", "the answer is not SOCKS5"),
            (NO_LOGIN, LOGIN_METHOD, "the answer is not SOCKS5"),
            (NO_LOGIN, b"HTTP/1.1 400 Bad Request", "the answer is not SOCKS5"),
            (NO_LOGIN, NO_METHOD + b"\5\2", "it can't connect to server.example:3080: connection not allowed by"),
            (NO_LOGIN, NO_METHOD + b"\5\5\0\1" + bytes(6), "it can't connect to server.example:3080: connection refu"),
            (NO_LOGIN, NO_METHOD + b"\5\6\0\1" + bytes(6), "it can't connect to server.example:3080: TTL expired"),
            (NO_LOGIN, NO_METHOD + b"\5\x55", "the answer is not SOCKS5"),
            (NO_LOGIN, NO_METHOD + b"HT", "the answer is not SOCKS5"),
            (NO_LOGIN, NO_METHOD + b"\5\0\0\2x", "the answer is not SOCKS5"),
            (NO_LOGIN, NO_METHOD + b"\5\0\0\3\1\xffxx", "the answer is not SOCKS5"),
        ],
    )
    def test_a_refusal(self, login: Login, answer: bytes, problem: str) -> None:
        assert refusal(socks(login), answer).startswith(problem)


def test_a_name_that_no_proxy_can_look_up() -> None:
    with pytest.raises(ProxyError, match="is no valid host name"):
        HttpExchange("ü" * 80, 3080, NO_LOGIN)


@pytest.mark.parametrize("login", [NO_LOGIN, KNOWN])
@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 ", NO_METHOD, LOGIN_METHOD])
@given(data=st.binary(max_size=40))
def test_any_answer_is_taken_or_refused(login: Login, start: bytes, data: bytes) -> None:
    for exchange in (http(login), socks(login)):
        with suppress(ProxyError, EOFError):
            play(exchange, start + data)


def test_a_login_is_never_shown() -> None:
    assert "fish" not in repr(KNOWN)
