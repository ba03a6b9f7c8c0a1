import pytest

from backhaul.wire.foreign import foreign, unreadable
from backhaul.wire.proxy import header, header_without_addresses
from backhaul.wire.transports import TRANSPORTS

UPGRADE = b"GET /channel HTTP/1.1\r\nHost: example.com\r\nupgrade: WebSocket\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
USER, SERVER = ("192.0.2.7", 5000), ("192.0.2.1", 443)
PROXIED = [
    header("v1", USER, SERVER),
    header("v2", USER, SERVER),
    header_without_addresses("v1"),
    header_without_addresses("v2"),
]


@pytest.mark.parametrize("data", PROXIED)
def test_a_proxy_header_is_unreadable_on_every_transport(data: bytes) -> None:
    assert "remove send-proxy (HAProxy) or proxy_protocol (nginx)" in unreadable(data)
    assert {foreign(data + UPGRADE, transport) for transport in TRANSPORTS.values()} == {unreadable(data)}


def test_http_2_is_unreadable() -> None:
    assert "let the proxy in between send HTTP/1.1" in unreadable(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


@pytest.mark.parametrize("name", TRANSPORTS)
def test_tls(name: str) -> None:
    fault = foreign(HELLO, TRANSPORTS[name])
    assert (fault == "") is TRANSPORTS[name].tls
    assert not fault or f"begins with TLS, which {name} does not use" in fault
    assert unreadable(HELLO) == ""


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("tcp", "it asks for a WebSocket, which tcp does not use: set the same transport on both ends"),
        ("udp", "it asks for a WebSocket, which udp does not use: set the same transport on both ends"),
        ("ws", ""),
        ("wsmux", ""),
        (
            "wssmux",
            (
                "it asks for a WebSocket without TLS, which wssmux requires: set the same transport on both ends, and "
                "let a proxy in between connect with TLS"
            ),
        ),
    ],
)
def test_a_websocket(name: str, fault: str) -> None:
    assert foreign(UPGRADE, TRANSPORTS[name]) == fault
    assert unreadable(UPGRADE) == ""


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16", b"PROX", b"\r\n"]
)
@pytest.mark.parametrize("name", TRANSPORTS)
def test_other_visitors_reveal_nothing(data: bytes, name: str) -> None:
    assert foreign(data, TRANSPORTS[name]) == ""
