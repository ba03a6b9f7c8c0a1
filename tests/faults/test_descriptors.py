"""A server that runs out of descriptors refuses one user, and keeps its listener."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.apart import separable
from tests.support.net import HOST, Peer, free_port, until
from tests.support.program import Program
from tests.support.tunnel import BUILT, TOKEN, Net

from backhaul.tunnel.port_reports import MOST_LINES

DESCRIPTORS = 40


async def start(
    net: Net,
    folder: Path,
    lines: str = "",
    *,
    more: str = "",
    descriptors: int = DESCRIPTORS,
    wrapper: Sequence[str] = (),
) -> tuple[Program, int, int]:
    """Run a server that may open few descriptors, perhaps for ``more`` ports; return it and its two ports."""
    bind_port, user_port = free_port(), free_port()
    file = folder / "server.toml"
    ports = [f"{HOST}:{user_port}={await net.echo()}", *filter(None, [more])]
    file.write_text(
        f'[server]\nbind_addr = "{HOST}:{bind_port}"\ntransport = "{net.transport}"\ntoken = "{TOKEN}"\n'
        f"skip_optz = true\nports = {ports}\n{lines}\n"
    )
    return await Program.start("-c", file, descriptors=descriptors, wrapper=wrapper), bind_port, user_port


async def answered(user: Peer) -> bool:
    """Return whether the user gets an answer instead of an end."""
    try:
        await user.send(b"hello")
        return await user.receive(5) == b"hello"
    except (EOFError, ConnectionError):
        return False


async def test_users(net: Net, tmp_path: Path) -> None:
    server, bind_port, user_port = await start(net, tmp_path)
    try:
        await server.line("server listens on")
        client = await net.client(bind_port, "connection_pool = 2")
        await server.line("tunnel is up")
        users = [await net.dial(user_port) for _ in range(2 * DESCRIPTORS)]
        outcomes = [await answered(user) for user in users]
        assert outcomes[0]
        assert not all(outcomes)
        status = await Program.start("status", "-c", tmp_path / "server.toml")
        assert await status.ended() == 0, status.text
        assert await answered(users[0])
        for user in users:
            user.close()
        while not await answered(user := await net.dial(user_port)):
            pass
        user.close()  # the stop would wait for it
        await net.stop(client)
    finally:
        await server.kill()
    assert server.text.count("user not accepted: Too many open files") == 1
    assert "raise the limit of open files (LimitNOFILE)" in server.text
    assert "Traceback" not in server.text


async def test_users_leave_room_for_the_connections_that_carry_them(net: Net, tmp_path: Path) -> None:
    server, bind_port, user_port = await start(net, tmp_path)
    try:
        await server.line("server listens on")
        await net.stop(await net.client(bind_port, "connection_pool = 2"))  # it restarts, and users wait for it
        users = [await net.dial(user_port) for _ in range(2 * DESCRIPTORS)]
        assert not await answered(users[-1])
        waiting = [user for user in users if user.silent()]
        assert waiting
        client = await net.client(bind_port, "connection_pool = 2")
        assert all([await answered(user) for user in waiting])
        for user in users:
            user.close()
        await net.stop(client)
    finally:
        await server.kill()


async def the_least(program: Program) -> int:
    """Return the limit that a program names which ends because its own is lower."""
    assert await program.ended() == 1
    last = program.lines[-1]
    assert "[FATAL] limit of open files: " in last
    assert "Traceback" not in program.text
    return int(last.partition("at least ")[2].split()[0])


async def serves(net: Net, server: Program, bind_port: int, user_port: int) -> None:
    """Let a server serve a user of a new client, and end it."""
    try:
        await server.line("server listens on")
        client = await net.client(bind_port)
        await server.line("tunnel is up")
        user = await net.dial(user_port)
        assert await answered(user)
        user.close()
        await net.stop(client)
    finally:
        await server.kill()


@pytest.mark.parametrize("transport", ["tcp", "tcpmux"])
async def test_a_server_starts_only_if_it_can_serve_a_user(net: Net, tmp_path: Path, transport: str) -> None:
    net.transport = transport
    failed, *_ = await start(net, tmp_path, descriptors=24)
    await serves(net, *await start(net, tmp_path, descriptors=await the_least(failed)))


async def test_a_range_of_ports_without_room_has_few_lines(net: Net, tmp_path: Path) -> None:
    first = free_port(digits=4)
    more = f"127.9.9.9:{first}-{first + 99}=1"
    failed, *_ = await start(net, tmp_path, "accept_udp = true", more=more)
    least = await the_least(failed)
    assert failed.text.count("too many open files") <= 2 * MOST_LINES
    server, *_ = await start(net, tmp_path, "accept_udp = true", more=more, descriptors=least)
    await server.line(", 101 ports")
    await server.kill()


@pytest.mark.parametrize("transport", ["tcp", "tcpmux"])
async def test_a_client_starts_only_if_it_can_serve_a_user(net: Net, tmp_path: Path, transport: str) -> None:
    net.transport = transport
    bind_port, user_port = free_port(), free_port()
    server = await net.server(bind_port, [f"{HOST}:{user_port}={await net.echo()}"])
    file = tmp_path / "client.toml"
    file.write_text(
        f'[client]\nremote_addr = "{HOST}:{bind_port}"\ntransport = "{transport}"\ntoken = "{TOKEN}"\n'
        "skip_optz = true\n"
    )
    least = await the_least(await Program.start("-c", file, descriptors=30))
    client = await Program.start("-c", file, descriptors=least)
    try:
        await client.line("tunnel is up")
        await until(lambda: server.tunnel.connected)  # its port refuses users before
        user = await net.dial(user_port)
        assert await answered(user)
        user.close()
    finally:
        await client.kill()
        await until(lambda: not server.tunnel.connected)


@pytest.mark.skipif(not separable(), reason="needs root and Linux's namespaces")
async def test_a_machine_without_devices(net: Net, tmp_path: Path) -> None:
    """Such as a container that holds nothing but the program."""
    bare = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev && exec "$0" "$@"')
    await serves(net, *await start(net, tmp_path, wrapper=bare))


async def test_flows_leave_room_for_administrators(net: Net, tmp_path: Path) -> None:
    server, bind_port, user_port = await start(net, tmp_path, "accept_udp = true")
    try:
        await server.line("server listens on")
        client = await net.client(bind_port, "connection_pool = 2")
        await server.line("tunnel is up")
        for _ in range(2 * DESCRIPTORS):
            with socket.socket(type=socket.SOCK_DGRAM) as user:
                user.sendto(b"hello", (HOST, user_port))
        await server.line("UDP flow of")
        status = await Program.start("status", "-c", tmp_path / "server.toml")
        assert await status.ended() == 0, status.text
        await net.stop(client)
    finally:
        await server.kill()


async def test_unauthenticated_connections_leave_descriptors_for_others(net: Net, tmp_path: Path) -> None:
    server, bind_port, _ = await start(net, tmp_path)
    try:
        await server.line("server listens on")
        strangers = [await net.dial(bind_port) for _ in range(2 * DESCRIPTORS)]
        assert await strangers[0].closed()
        client = await net.client(bind_port)
        await server.line("tunnel is up")
        await net.stop(client)
    finally:
        await server.kill()
    assert "Too many open files" not in server.text


@pytest.mark.parametrize("transport", [*BUILT])
async def test_a_user_of_a_client_without_descriptors_is_reset(transport: str, tmp_path: Path) -> None:
    async with Net(transport) as net:
        port = free_port()
        file = tmp_path / "client.toml"
        file.write_text(
            f'[client]\nremote_addr = "{HOST}:{port}"\ntransport = "{transport}"\ntoken = "{TOKEN}"\n'
            "skip_optz = true\nconnection_pool = 2\n"
        )
        user_port, listener = free_port(), net.listen()
        server = await net.server(port, [f"{HOST}:{user_port}={listener.port}"])
        client = await Program.start("-c", file, descriptors=DESCRIPTORS)
        try:
            await client.line("connected")
            await until(lambda: server.tunnel.connected)  # its port refuses users before
            users = []
            for _ in range(2 * DESCRIPTORS):
                with contextlib.suppress(ConnectionResetError):  # before this end has noticed the connection
                    users.append(await net.dial(user_port))
            ends = [asyncio.ensure_future(user.closed()) for user in users]
            await client.line("too many open files; raise the limit of open files")
            done, others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            assert not any(end.result() for end in done)
            for end in others:
                end.cancel()
        finally:
            net.close_peers()
            await client.kill()
