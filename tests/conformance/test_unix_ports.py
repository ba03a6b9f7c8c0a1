"""Users and clients on Unix sockets, for ports and for the tunnel's own address."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.net import echo, free_port, until
from tests.support.tunnel import NO_WAIT, Net, change, server_config
from tests.support.unix import forwarding_to
from tests.support.web import knock

from backhaul.config import PortMapping
from backhaul.config.diff import diff
from backhaul.errors import BackhaulError
from backhaul.monitor.events import EventLog
from backhaul.net.listeners import Listeners
from backhaul.overview import reader
from backhaul.server import Server
from backhaul.tunnel.timings import Timings


@pytest.fixture(params=["tcp", "tcpmux", "ws"])
async def each_net(request: pytest.FixtureRequest) -> AsyncIterator[Net]:
    """Provide the same over each carrier."""
    async with Net(request.param) as net:
        yield net


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a directory for sockets; below the test's own directory their paths may be too long."""
    return tmp_path_factory.mktemp("unix")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def serve(net: Net, *mappings: str, lines: str = "", client: str = "", timings: Timings = NO_WAIT) -> Server:
    """Start both ends."""
    port = free_port()
    server = await net.server(port, mappings, lines, timings=timings)
    other = await net.client(port, client)
    await until(lambda: server.tunnel.connected and other.tunnel.connected)
    return server


async def test_bytes_and_ends_pass_through(each_net: Net, folder: Path) -> None:
    await each_net.echo_at(folder / "target")
    allowed = f'allow_targets = ["unix:{folder}/target"]'
    await serve(each_net, f"unix:{folder}/port=unix:{folder}/target", client=allowed)
    user, data = await each_net.dial_path(folder / "port"), os.urandom(3 << 20)
    sending = asyncio.ensure_future(user.send(data))
    assert await user.receive(len(data)) == data
    await sending
    user.shut_write()
    assert await user.receive_all() == b""


async def test_a_user_without_an_address_has_a_line_in_the_log(
    each_net: Net, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "backhaul")
    listener = each_net.listen()
    server = await serve(each_net, f"unix:{folder}/port={listener.port}")
    user, target = await asyncio.gather(each_net.dial_path(folder / "port"), listener.accept())
    await user.send(b"request")
    assert await target.receive(7) == b"request"
    await target.send(b"answer")
    assert await user.receive(6) == b"answer"
    user.close()
    assert await target.receive_all() == b""
    target.close()
    line = (
        f"user (local) of port unix:{folder}/port, target {listener.port}: 7 bytes from the user, 6 bytes to the user"
    )
    await until(lambda: line in caplog.text)
    [port] = reader(server.state, EventLog())().ports
    assert (port.name, port.port, port.bind, port.total) == (f"unix:{folder}/port", 0, f"{folder}/port", 1)


@pytest.mark.parametrize(
    ("version", "header"),
    [("v1", b"PROXY UNKNOWN\r\n"), ("v2", b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")],
)
async def test_the_header_of_the_proxy_protocol_has_no_address(
    each_net: Net, folder: Path, version: str, header: bytes
) -> None:
    listener = each_net.listen()
    await serve(each_net, f"unix:{folder}/port={listener.port}", lines=f'proxy_protocol = "{version}"')
    user, target = await asyncio.gather(each_net.dial_path(folder / "port"), listener.accept())
    await user.send(b"request")
    assert await target.receive(len(header) + 7) == header + b"request"


async def test_users_without_a_client_are_refused_and_served_later(net: Net, folder: Path) -> None:
    path, port, target = folder / "port", free_port(), await net.echo()
    server = await net.server(port, [f"unix:{path}={target}"], timings=Timings(quiet=0, absence=0.01))
    await until(lambda: server.tunnel.offline)
    with pytest.raises(OSError, match="No such file"):
        await net.dial_path(path)
    await net.client(port)
    await until(path.exists)
    await echo(await net.dial_path(path), b"hello")


async def test_a_reload_removes_the_file(net: Net, folder: Path) -> None:
    target = await net.echo()
    server = await serve(net, f"unix:{folder}/one={target}", f"unix:{folder}/two={target}")
    user = await net.dial_path(folder / "one")
    await echo(user, b"before")
    kept = server.config.ports[1]
    await change(server, ports=(kept, PortMapping(f"{folder}/three", 0, str(target))))
    assert names(folder) == ["three", "two"]
    await echo(user, b"after")
    user.close()
    await net.stop(server)
    assert names(folder) == []


async def test_an_occupied_path_affects_no_other_port(net: Net, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    target, path = await net.echo(), folder / "port"
    path.write_text("precious")
    server = await net.server(
        free_port(), [f"unix:{path}={target}", f"unix:{folder}/other={target}"],
        timings=Timings(quiet=0, reopen_pauses=(0.01,)),
    )  # fmt: skip
    assert f"port unix:{path}: the file is no socket; remove it" in caplog.text
    assert [port.name for port in server.tunnel.ports.down] == [f"unix:{path}"]
    path.unlink()
    await until(lambda: not server.tunnel.ports.down)
    assert path.is_socket()


class TestTheTunnelsOwnAddress:
    """A proxy in front of the server accepts the client's connections, and forwards them to a Unix socket."""

    @staticmethod
    async def server(net: Net, path: Path, *mappings: str, lines: str = "") -> Server:
        config = server_config(net.transport, f"unix:{path}", mappings, lines)
        return await net.run(config)

    async def test_clients_and_users(self, any_net: Net, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "backhaul")
        user_port, path = free_port(), folder / "tunnel"
        server = await self.server(any_net, path, f"127.0.0.1:{user_port}={await any_net.echo()}")
        async with forwarding_to(path) as port:
            client = await any_net.client(port)
            await until(lambda: server.tunnel.connected)
            assert server.session().peer == "(local)"
            for _ in range(3):
                user, data = await any_net.dial(user_port), os.urandom(1 << 20)
                sending = asyncio.ensure_future(user.send(data))
                assert await user.receive(len(data)) == data
                await sending
                user.close()
            await any_net.stop(client)
            await until(lambda: not server.tunnel.connected)
            await any_net.stop(server)
        assert "client (local) connected" in caplog.text
        assert "internal error" not in caplog.text
        assert not path.exists()

    @pytest.mark.parametrize("transport", ["tcp", "ws"])
    async def test_unauthenticated_connections(self, net: Net, folder: Path, transport: str) -> None:
        net.transport = transport
        await self.server(net, folder / "tunnel")
        stranger = await net.dial_path(folder / "tunnel")
        await stranger.send(knock("/somewhere"))
        answer = await stranger.receive_all() if transport == "tcp" else await stranger.receive(12)
        assert answer == (b"" if transport == "tcp" else b"HTTP/1.1 404")

    async def test_a_path_in_use_ends_the_program(self, net: Net, folder: Path) -> None:
        await self.server(net, folder / "tunnel")
        with pytest.raises(BackhaulError, match=f"can't listen on unix:{folder}/tunnel: another program listens on it"):
            await self.server(net, folder / "tunnel")

    async def test_the_next_process_gets_the_address_last(self, net: Net, folder: Path) -> None:
        """Connections that the client opens for users of the first process must reach that process."""
        config = server_config("tcp", f"unix:{folder}/tunnel", [f"unix:{folder}/port=80"])
        first = await net.run(config)
        second = await net.run(config, listeners=Listeners(shared=True, predecessor=os.getpid()))
        assert "another program listens on it" in second.tunnel.problem
        assert not second.tunnel.ports.down
        await net.stop(first)
        await until(lambda: not second.tunnel.problem)
        assert names(folder) == ["port", "tunnel"]

    async def test_a_reload_moves_it(self, net: Net, folder: Path) -> None:
        server = await self.server(net, folder / "one")
        new = server_config("tcp", f"unix:{folder}/two", [])
        await server.reconfigure(new, diff(server.config, new))
        assert names(folder) == ["two"]
