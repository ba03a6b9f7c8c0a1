"""Targets that are Unix sockets on the client's machine."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.net import HOST, PATIENCE, Peer, echo, free_port, until
from tests.support.tunnel import Net, change
from tests.support.v072 import HANDSHAKE, dial_control
from tests.support.web import upgraded

from backhaul.config import PortMapping


@pytest.fixture(params=["tcp", "tcpmux", "ws"])
async def each_net(request: pytest.FixtureRequest) -> AsyncIterator[Net]:
    """Provide the same over each carrier."""
    async with Net(request.param) as net:
        yield net


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a path for the target; below the test's own directory it may be too long for a socket."""
    return tmp_path_factory.mktemp("unix") / "app.sock"


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    """Provide a target played by the test."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        sock.bind(str(path))
        sock.listen()
        yield sock


def in_use(port: int) -> bool:
    """Return whether a UDP port is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((HOST, port))
        except OSError:
            return True
    return False


def naming(path: Path) -> str:
    """Return the entries with which the client dials the socket, and all other targets as before."""
    return f'allow_targets = ["*", "unix:{path}"]'


async def accept(net: Net, listener: socket.socket) -> Peer:
    async with asyncio.timeout(PATIENCE):
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
    return net.keep(Peer(sock))


async def test_bytes_and_ends_pass_through(each_net: Net, path: Path) -> None:
    await each_net.echo_at(path)
    tunnel = await each_net.tunnel(f"unix:{path}", client=naming(path))
    user, data = await tunnel.user(), os.urandom(3 << 20)
    sending = asyncio.ensure_future(user.send(data))
    assert await user.receive(len(data)) == data
    await sending
    user.shut_write()
    assert await user.receive_all() == b""
    [status] = tunnel.client.tunnel.targets
    assert status[0] == f"unix:{path}"


async def test_either_end_may_close(each_net: Net, listener: socket.socket, path: Path) -> None:
    tunnel = await each_net.tunnel(f"unix:{path}", client=naming(path))
    for first in ("user", "target"):
        user, target = await asyncio.gather(tunnel.user(), accept(each_net, listener))
        await user.send(b"request")
        assert await target.receive(7) == b"request"
        await target.send(b"answer")
        closing, other = (user, target) if first == "user" else (target, user)
        if closing is user:
            assert await user.receive(6) == b"answer"
        closing.close()
        assert await other.receive_all() == (b"" if other is target else b"answer")
        other.close()
    await until(lambda: not tunnel.server.relay.live)


async def test_a_target_that_resets_resets_the_user(each_net: Net, listener: socket.socket, path: Path) -> None:
    tunnel = await each_net.tunnel(f"unix:{path}", client=naming(path))
    user, target = await asyncio.gather(tunnel.user(), accept(each_net, listener))
    await user.send(b"request")
    await until(lambda: not target.silent())
    target.close()  # with an unread request, so the Unix socket reports a reset
    assert not await user.closed()


@pytest.mark.parametrize("missing", ["file", "listener", "permission of a directory"])
async def test_a_missing_target_refuses_the_user(
    net: Net, path: Path, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    if missing == "listener":
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
    if missing == "permission of a directory":  # root has every permission, so a file stands for the directory
        path = path.parent / "file" / "app.sock"
        path.parent.write_text("")
    tunnel = await net.tunnel(f"unix:{path}", client=naming(path))
    assert not await (await tunnel.user()).closed()
    words = {"file": "no such file or directory", "listener": "connection refused"}.get(missing, "not a directory")
    await until(lambda: f"target unix:{path}: cannot be reached: {words}" in caplog.text)


async def test_a_full_queue_refuses_the_user(net: Net, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(0)
        waiting = await net.dial_path(path)
        tunnel = await net.tunnel(f"unix:{path}", client=naming(path))
        assert not await (await tunnel.user()).closed()
        waiting.close()
    await until(lambda: "its connection queue is full" in caplog.text)


@pytest.mark.parametrize(
    ("entries", "allowed"),
    [('"unix:{0}"', True), ('"unix:{1}/*.sock"', True), ('"*"', False), ('":1-65535"', False), ("", False)],
)
async def test_allow_targets_must_name_the_socket(
    net: Net, path: Path, caplog: pytest.LogCaptureFixture, entries: str, *, allowed: bool
) -> None:
    await net.echo_at(path)
    tunnel = await net.tunnel(f"unix:{path}", client=f"allow_targets = [{entries.format(path, path.parent)}]")
    user = await tunnel.user()
    if allowed:
        await echo(user, b"hello")
    else:
        assert not await user.closed()
        remedy = "add it" if entries else f'set allow_targets = ["*", "unix:{path}"]'
        assert f"target unix:{path}: user refused, not in allow_targets; {remedy} if the server" in caplog.text


async def test_users_with_datagrams_are_refused(net: Net, path: Path) -> None:
    tunnel = await net.tunnel(f"unix:{path}", 80, server="accept_udp = true")
    assert [in_use(port) for port in tunnel.ports] == [False, True]
    assert not tunnel.server.tunnel.ports.down


async def old_client(net: Net, port: int) -> None:
    """Connect as v0.7.2 does, with a tunnel connection."""
    if net.transport == "ws":
        await upgraded(net, port)
        await upgraded(net, port, "/tunnel")
    elif net.transport == "tcp":
        await dial_control(net, port)
        await net.dial(port)
    else:
        control = await net.dial(port)
        await control.send(HANDSHAKE)
        await control.receive(len(HANDSHAKE))
        await net.dial(port)


async def test_a_v072_client_cannot_dial_it_which_is_logged_once(
    each_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    port, user_port = free_port(), free_port()
    mappings = [f"{HOST}:{user_port}=unix:/run/app.sock", f"{HOST}:{free_port()}=80"]
    await each_net.server(port, mappings)
    await old_client(each_net, port)
    line = f"port {HOST}:{user_port} (unix:/run/app.sock): the client is v0.7.2, which cannot reach Unix sockets"
    await until(lambda: line in caplog.text)
    assert caplog.text.count("cannot reach Unix sockets") == 1


async def test_a_port_with_such_a_target_after_a_reload(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    port, user_port = free_port(), free_port()
    server = await net.server(port, [f"{HOST}:{user_port}=80"])
    await old_client(net, port)
    await until(lambda: server.tunnel.connected)
    await change(server, ports=(PortMapping(HOST, user_port, "unix:/run/app.sock"),))
    await until(lambda: "cannot reach Unix sockets" in caplog.text)


async def test_a_client_with_extensions_can_dial_it(
    each_net: Net, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await each_net.echo_at(path)
    tunnel = await each_net.tunnel(f"unix:{path}", client=naming(path))
    await echo(await tunnel.user(), b"hello")
    assert "cannot reach Unix sockets" not in caplog.text


async def test_a_port_of_both_protocols_changes_to_a_path_and_back(net: Net, path: Path) -> None:
    await net.echo_at(path)
    tunnel = await net.tunnel(await net.echo(), server="accept_udp = true", client=naming(path))
    [before] = tunnel.server.config.ports
    for mapping in (msgspec.structs.replace(before, target=f"unix:{path}"), before):
        await change(tunnel.server, ports=(mapping,))
        await echo(await tunnel.user(), b"hello")
        assert in_use(tunnel.ports[0]) == mapping.takes_datagrams
