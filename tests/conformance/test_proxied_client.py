"""Tunnels whose client dials through a proxy."""

import ssl
from collections.abc import AsyncIterator

import pytest
from tests.support.cert import certificate
from tests.support.forward_proxy import ForwardProxy
from tests.support.net import HOST, Peer, echo, until
from tests.support.tunnel import Net, Tunnel, client_config

LOGIN = "me:swordfish"


@pytest.fixture(params=["http", "https", "socks5", "socks5h"])
async def proxy(
    request: pytest.FixtureRequest, net: Net, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ForwardProxy]:
    """Run a proxy that requires a login; it ends before ``net`` counts what remains."""
    proxy, (cert, key) = ForwardProxy(request.param, LOGIN), certificate()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))  # an authority of the system
    await proxy.start(tls if proxy.kind == "https" else None)
    yield proxy
    await proxy.stop()


async def reload(tunnel: Tunnel, lines: str) -> None:
    """Reload the client with other lines."""
    new = client_config(tunnel.net.transport, f"{HOST}:{tunnel.bind_port}", lines)
    await tunnel.client.reconfigure(new)


async def in_flight(tunnel: Tunnel) -> Peer:
    user = await tunnel.user()
    await echo(user, b"before")
    return user


@pytest.mark.parametrize("transport", ["tcp", "wssmux"])
async def test_everything_passes_the_proxy(
    net: Net, proxy: ForwardProxy, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    net.transport = transport
    target = await net.echo()
    tunnel = await net.tunnel(target, client=f'proxy = "{proxy.url(LOGIN)}"')
    for _ in range(3):
        await echo(await tunnel.user(), bytes(100_000))
    server = f"{HOST}:{tunnel.bind_port}"
    assert set(proxy.asked) == {server}  # targets are dialled directly
    assert len(proxy.asked) > 1
    assert f"connected to {server} ({HOST} via {proxy.url()})" in caplog.text
    assert "swordfish" not in caplog.text
    assert proxy.url() in repr(tunnel.client.state())
    assert "swordfish" not in repr(tunnel.client.state())


async def test_a_wrong_password(net: Net, proxy: ForwardProxy, caplog: pytest.LogCaptureFixture) -> None:
    await net.client(1, f'proxy = "{proxy.url("me:goldfish")}"')
    await until(lambda: "can't connect" in caplog.text)
    [line] = [line for line in caplog.messages if "can't connect" in line]
    assert line.startswith(f"can't connect to {HOST}:1: proxy {proxy.url()}: wrong user name or password")
    assert "fish" not in line


async def test_a_reload_moves_the_next_connections(net: Net, proxy: ForwardProxy) -> None:
    tunnel = await net.tunnel(await net.echo())
    direct = await in_flight(tunnel)
    await reload(tunnel, f'proxy = "{proxy.url(LOGIN)}"')
    await until(lambda: tunnel.connected and proxy.asked)
    proxied = await in_flight(tunnel)
    await reload(tunnel, "")
    await until(lambda: tunnel.connected)
    asked = len(proxy.asked)
    await echo(await tunnel.user(), b"hello")
    await echo(direct, b"after")
    await echo(proxied, b"after")
    assert len(proxy.asked) == asked


async def test_an_edge_is_reached_through_the_proxy(net: Net, proxy: ForwardProxy) -> None:
    net.transport = "ws"
    lines = f'proxy = "{proxy.url(LOGIN)}"\nedge_ip = "127.0.0.9"'
    tunnel = await net.tunnel(await net.echo(), client=lines)
    await echo(await tunnel.user(), b"hello")
    assert set(proxy.asked) == {f"127.0.0.9:{tunnel.bind_port}"}


@pytest.mark.parametrize("proxy", ["https"], indirect=True)
async def test_a_proxy_with_an_unknown_certificate(
    net: Net, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    await net.client(1, f'proxy = "{proxy.url(LOGIN)}"')
    await until(lambda: "can't connect" in caplog.text)
    assert f"proxy {proxy.url()}: the server's certificate is refused: self-signed certificate" in caplog.text
    assert not proxy.asked
