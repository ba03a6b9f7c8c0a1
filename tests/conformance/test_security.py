"""Both ends with each value of ``security``: which ends connect, and what an attacker on the line can do."""

import logging
from pathlib import Path

import pytest
from tests.support.datagrams import UdpNet
from tests.support.eavesdropper import Eavesdropper
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import BUILT, TOKEN, Net
from tests.support.v072 import HANDSHAKE
from tests.support.web import answer_to, with_token

from backhaul.system.known_servers import KnownServers

REMEDY = 'Run the same version of this program on both ends, then set security = "required" on both'
BY_SERVER, BY_CLIENT = f"client {HOST} is not protected", f"{HOST}:{{}} is not protected"
PROTECTED = "is protected, and will get no bare token any more"
ENVELOPES = ["tcp", "ws"]  # the two forms of a handshake; the transports of each share gate and door

CONNECT = [  # server, client, whether they are protected, the warnings that this causes
    ("auto", "auto", True, []),
    ("auto", "required", True, []),
    ("required", "auto", True, []),
    ("required", "required", True, []),
    ("auto", "legacy", False, [BY_SERVER]),
    ("legacy", "auto", False, [BY_CLIENT]),
    ("legacy", "legacy", False, []),
]
PREVENTED = {  # what the client logs
    ("required", "legacy", "tcp"): "the server closed the connection during the handshake",
    ("required", "legacy", "ws"): "are token, remote_addr, path and transport right",
    ("legacy", "required", "tcp"): 'Does the server run this program, with security = "required" or "auto"?',
    ("legacy", "required", "ws"): 'Does the server run this program, with security = "required" or "auto"?',
    ("auto, and encryption", "legacy", "tcp"): "the server closed the connection during the handshake",
    ("auto, and encryption", "legacy", "ws"): "are token, remote_addr, path and transport right",
    (
        "legacy",
        "auto, and encryption",
        "tcp",
    ): 'Does the server run this program, with security = "required" or "auto"?',
    ("legacy", "auto, and encryption", "ws"): 'Does the server run this program, with security = "required" or "auto"?',
}


def security(value: str) -> str:
    """Return the lines of the configuration."""
    word, _, encrypted = value.partition(", and ")
    return f'security = "{word}"\n' + ("encryption = true" if encrypted else "")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about tunnels without protection."""
    return [record.getMessage() for record in caplog.records if "is not protected" in record.getMessage()]


@pytest.mark.parametrize("transport", ENVELOPES)
@pytest.mark.parametrize(("server", "client", "protected", "warned"), CONNECT)
async def test_ends_that_connect(
    transport: str, server: str, client: str, warned: list[str], caplog: pytest.LogCaptureFixture, *, protected: bool
) -> None:
    async with Net(transport) as net:
        tunnel = await net.tunnel(await net.echo(), server=security(server), client=security(client))
        assert (tunnel.server.tunnel.transport.session.keys is not None) is protected
        await echo(await tunnel.user(), b"hello")
        said = warnings(caplog)
        assert len(said) == len(warned)
        for line, beginning in zip(said, warned, strict=True):
            assert line.startswith(beginning.format(tunnel.bind_port))
            assert line.endswith(REMEDY)


@pytest.mark.parametrize(("server", "client", "transport"), PREVENTED)
async def test_ends_that_do_not_connect(
    server: str, client: str, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Net(transport) as net:
        public = await net.server(bind_port := free_port(), lines=security(server))
        behind = await net.client(bind_port, security(client))
        await until(lambda: PREVENTED[server, client, transport] in caplog.text)
        assert not public.tunnel.opened
        assert not behind.tunnel.opened
        assert TOKEN not in caplog.text


@pytest.mark.parametrize("transport", [*BUILT, "udp"])
@pytest.mark.parametrize("server", ["auto", "legacy"])
async def test_every_transport_with_and_without_protection(
    transport: str, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with UdpNet(transport) as net:
        lines = security(server)
        if transport == "udp":
            tunnel = await net.flows(net.udp_echo().port, server=lines)
            assert await net.udp(tunnel.ports[0]).ask(b"hello") == b"echo:hello"
        else:
            tunnel = await net.tunnel(await net.echo(), server=lines)
            await echo(await tunnel.user(), b"hello")
        keys = tunnel.server.tunnel.transport.session.keys
        assert (keys is not None) == (server == "auto") == (not warnings(caplog))


@pytest.mark.parametrize("transport", ENVELOPES)
async def test_a_protected_tunnel_shows_neither_token_nor_target(transport: str) -> None:
    async with Net(transport) as net:
        bind_port, port, target = free_port(), free_port(), await net.echo()
        server = await net.server(bind_port, [f"{HOST}:{port}={HOST}:{target}"])
        async with Eavesdropper(net.listen(), bind_port) as between:
            await net.client(between.port)
            await until(lambda: server.tunnel.connected)
            user = await net.dial(port)
            await echo(user, b"in clear, without encryption = true")
            assert TOKEN.encode() not in between.heard
            assert f"{HOST}:{target}".encode() not in between.heard
            user.close()


@pytest.mark.parametrize("transport", ENVELOPES)
async def test_a_client_with_required_never_sends_the_bare_token(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Net(transport) as net:
        server = await net.server(bind_port := free_port())
        async with Eavesdropper(net.listen(), bind_port) as between:
            between.prevents = True
            client = await net.client(between.port, security("required"), retry_interval=0.01)
            await until(lambda: "(2 times in a row)" in caplog.text)
            assert between.heard
            assert TOKEN.encode() not in between.heard
            between.prevents = False
            await until(lambda: server.tunnel.connected and client.tunnel.connected)
            assert TOKEN.encode() not in between.heard


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("transport", ENVELOPES)
async def test_a_server_with_required_never_accepts_the_bare_token(transport: str, *, connected: bool) -> None:
    async with Net(transport) as net:
        server = await net.server(bind_port := free_port(), lines=security("required"))
        if connected:
            await net.client(bind_port)
            await until(lambda: server.tunnel.connected)
        opened = server.tunnel.opened
        if transport == "tcp":
            stranger = await net.dial(bind_port)
            await stranger.send(HANDSHAKE)
            assert await stranger.receive_all() == b""
        else:
            for path in ("/channel", "/tunnel/1"):
                assert not (await answer_to(net, bind_port, with_token(path=path))).startswith(b"HTTP/1.1 101")
        assert server.tunnel.opened == opened == connected


@pytest.mark.parametrize("transport", ENVELOPES)
async def test_a_server_that_was_protected_gets_no_bare_token(
    transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with Net(transport) as net:
        known = KnownServers(tmp_path)
        server = await net.server(bind_port := free_port())
        async with Eavesdropper(net.listen(), bind_port) as between:
            client = await net.client(between.port, known=known, retry_interval=0.01)
            await until(lambda: server.tunnel.connected and client.tunnel.connected)
            assert caplog.text.count(f"{HOST}:{between.port} {PROTECTED}") == 1
            between.prevents = True
            between.cut()
            await until(lambda: "(2 times in a row)" in caplog.text)
            remedy = f"if it runs v0.7.2 again, remove its line from {known.file}"
            assert "but was protected before: is the token right? An attacker in between" in caplog.text
            assert remedy in caplog.text
            assert TOKEN.encode() not in between.heard
            known.file.write_text(known.file.read_text().replace(f"{HOST}:{between.port}\n", ""))
            await until(lambda: client.tunnel.connected)
            assert TOKEN.encode() in between.heard
            assert BY_CLIENT.format(between.port) in caplog.text


async def test_another_client_process_remembers_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Net("tcp") as net:
        server = await net.server(bind_port := free_port())
        async with Eavesdropper(net.listen(), bind_port) as between:
            first = await net.client(between.port, known=KnownServers(tmp_path))
            await until(lambda: server.tunnel.connected and first.tunnel.connected)
            await net.stop(first)
            between.prevents = True
            await net.client(between.port, known=KnownServers(tmp_path))
            await until(lambda: "but was protected before" in caplog.text)
            assert TOKEN.encode() not in between.heard


@pytest.mark.parametrize("transport", ENVELOPES)
async def test_the_server_learns_why_a_target_is_not_dialled(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Net(transport) as net:
        closed = free_port()
        tunnel = await net.tunnel(closed, 22, client=f'allow_targets = ["{HOST}:{closed}"]')
        await tunnel.user(0)
        await tunnel.user(1)
        line = "target {}: not dialled by the client: {}"
        await until(lambda: line.format(closed, "cannot be reached: connection refused") in caplog.text)
        await until(lambda: line.format(22, "not in allow_targets of the client") in caplog.text)


@pytest.mark.parametrize("transport", ENVELOPES)
async def test_a_memory_that_cannot_be_written_is_no_promise(
    transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / "file"
    folder.touch()
    async with Net(transport) as net:
        await net.server(port := free_port())
        client = await net.client(port, known=KnownServers(folder))
        await until(lambda: client.tunnel.connected)
    assert "is remembered until this program ends" in caplog.text
    assert PROTECTED not in caplog.text
