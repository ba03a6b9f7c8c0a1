"""Connections that a proxy with other settings forwards to the server: one line names the fault and the remedy."""

import asyncio
import contextlib
import ssl

import pytest
from tests.support.net import HOST, Peer, free_port, until
from tests.support.tunnel import BUILT, Net
from tests.support.web import answer_to, knock, upgraded, with_token

from backhaul.server import Server
from backhaul.wire.proxy import Version, header

WEB = ("ws", "wss", "wsmux", "wssmux")
HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REFUSED = "refused a connection from 127.0.0.1: "


@pytest.fixture(params=[*BUILT, "udp"])
async def server(net: Net, request: pytest.FixtureRequest) -> Server:
    net.transport = request.param
    return await net.server(free_port())


@pytest.fixture(params=WEB)
async def web_server(net: Net, request: pytest.FixtureRequest) -> Server:
    net.transport = request.param
    return await net.server(free_port())


def port_of(server: Server) -> int:
    return server.config.bind_addr.port


async def complaint(net: Net, server: Server, data: bytes) -> Peer:
    visitor = await net.dial(port_of(server))
    await visitor.send(data)
    return visitor


async def speak_tls(server: Server, protocols: list[str], data: bytes) -> None:
    """Send ``data`` within TLS; raises SSLError or ConnectionError if the server ends the handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    _, writer = await asyncio.open_connection(HOST, port_of(server), ssl=context)
    writer.write(data)
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_proxy_header_is_reported_on_every_transport(
    net: Net, server: Server, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    said = header(version, ("192.0.2.7", 5000), (HOST, port_of(server)))
    for _ in range(2):
        await (await complaint(net, server, said + with_token())).closed()
    line = f"{REFUSED}it begins with a PROXY protocol header, which this server does not read: remove send-proxy"
    assert caplog.text.count(line) == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_answer_to_a_proxy_header_is_nginxs(net: Net, web_server: Server, version: Version) -> None:
    said = header(version, ("192.0.2.7", 5000), (HOST, port_of(web_server)))
    answer = await answer_to(net, port_of(web_server), said + with_token())
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n")


async def test_http_2_is_reported_on_every_transport(
    net: Net, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    await (await complaint(net, server, HTTP_2)).closed()
    assert f"{REFUSED}it begins with HTTP/2: let the proxy in between send HTTP/1.1" in caplog.text


@pytest.mark.parametrize("offered", [["h2"], []])
async def test_http_2_within_tls(net: Net, caplog: pytest.LogCaptureFixture, offered: list[str]) -> None:
    net.transport = "wss"
    server = await net.server(free_port())
    with contextlib.suppress(ssl.SSLError):  # nginx without HTTP/2 refuses a client that offers nothing else
        await speak_tls(server, offered, HTTP_2)
    await until(lambda: f"{REFUSED}it begins with HTTP/2" in caplog.text)


@pytest.mark.parametrize("transport", ["tcp", "tcpmux", "udp", "ws", "wsmux"])
async def test_tls_where_there_is_none(net: Net, transport: str, caplog: pytest.LogCaptureFixture) -> None:
    net.transport = transport
    server = await net.server(free_port())
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await speak_tls(server, ["http/1.1"], b"")
    assert f"{REFUSED}it begins with TLS, which {transport} does not use: set the same transport" in caplog.text


@pytest.mark.parametrize("transport", ["wss", "wssmux"])
async def test_a_client_whose_proxy_leaves_tls_out(net: Net, transport: str, caplog: pytest.LogCaptureFixture) -> None:
    net.transport = transport
    server = await net.server(free_port())
    answer = await answer_to(net, port_of(server), with_token())
    assert b"The plain HTTP request was sent to HTTPS port" in answer
    assert f"{REFUSED}it asks for a WebSocket without TLS, which {transport} requires" in caplog.text


@pytest.mark.parametrize("said", [knock("/"), b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"])
async def test_other_visitors_of_a_decoy_leave_no_line(
    net: Net, web_server: Server, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    await answer_to(net, port_of(web_server), said)
    assert "refused" not in caplog.text


async def test_a_network_that_sends_nothing_else_is_barred_and_its_client_still_admitted(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    net.transport = "ws"
    server = await net.server(free_port())
    for _ in range(net.limits.failures + 1):
        await (await complaint(net, server, HTTP_2)).closed()
    assert "127.0.0.1: too many failed attempts" in caplog.text
    await upgraded(net, port_of(server))
