"""The client's log about servers and proxies whose TLS does not fit."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.support.cert import certificate
from tests.support.net import HOST, PATIENCE, until
from tests.support.tunnel import Net

Serve = Callable[[socket.socket], object]


def answer_once(listener: socket.socket, serve: Serve) -> None:
    """Serve one connection, and read it to its end: a close with unread bytes would be a reset."""
    sock = listener.accept()[0]
    sock.settimeout(PATIENCE)
    with sock, suppress(OSError):
        with suppress(ssl.SSLError):
            serve(sock)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 14):
            pass


def proxy_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate())
    return context


def without_tls(sock: socket.socket) -> None:
    """Answer as a web server without TLS does."""
    sock.recv(1)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def with_silence(sock: socket.socket) -> None:
    """Read the greeting, and say nothing."""
    sock.recv(1 << 14)


def with_client_certificates(sock: socket.socket) -> None:
    """Demand a client certificate."""
    context = proxy_context()
    context.load_verify_locations(certificate()[0])
    context.verify_mode = ssl.CERT_REQUIRED
    # The context's socket is a copy, so that this one is closed only after the alert has been read.
    context.wrap_socket(sock.dup(), server_side=True)


def with_other_names(sock: socket.socket) -> None:
    """Serve no website of the name that the client asks for."""
    context = proxy_context()
    context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    context.wrap_socket(sock.dup(), server_side=True)


@pytest.mark.parametrize("transport", ["wss", "wssmux"])
@pytest.mark.parametrize(
    ("serve", "text"),
    [
        (without_tls, "TLS handshake failed: wrong version number: no TLS on this port; correct the port or the"),
        (with_silence, "TLS handshake failed: the other end closed the connection: correct the port or the transport"),
        (with_client_certificates, "certificate required: it demands a client certificate, and this client has none"),
        (with_other_names, "unrecognized name: it serves no such name; correct remote_addr or tls_server_name"),
    ],
)
async def test_the_log_names_cause_and_remedy(
    net: Net, transport: str, caplog: pytest.LogCaptureFixture, *, serve: Serve, text: str
) -> None:
    net.transport = transport
    with socket.create_server((HOST, 0)) as listener:
        serving = asyncio.ensure_future(asyncio.to_thread(answer_once, listener, serve))
        await net.client(listener.getsockname()[1])
        await until(lambda: "can't connect" in caplog.text)
        await serving
    assert text in caplog.text
    assert "_ssl.c" not in caplog.text
