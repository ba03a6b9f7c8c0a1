"""The addresses of users and targets, and the PROXY header, over every transport."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.net import HOST, Peer, free_port, ready, until
from tests.support.proxy import decode
from tests.support.tunnel import PROXY_PROTOCOL, Net, change

from backhaul.relay.outcome import Outcome
from backhaul.relay.traffic import Meter, Traffic
from backhaul.transports.user import User

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} proxy_protocol;
        return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";
    }}
}}
"""


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[int]:
    """Run a web server that expects the PROXY protocol and returns the addresses it read; yield its port."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    port = free_port()
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(folder=tmp_path, port=port))
    with subprocess.Popen(["nginx", "-p", tmp_path, "-c", config], stderr=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()


async def test_a_user_over_ipv6(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo(), user_host="::1")
    user = await tunnel.user(host="::1")
    await user.send(b"six")
    assert await user.receive(3) == b"six"


async def test_a_target_over_ipv6(any_net: Net) -> None:
    tunnel = await any_net.tunnel(f"[::1]:{await any_net.echo('::1')}")
    user = await tunnel.user()
    await user.send(b"six")
    assert await user.receive(3) == b"six"


async def test_a_target_by_name(any_net: Net) -> None:
    tunnel = await any_net.tunnel(f"localhost:{await any_net.echo()}")
    user = await tunnel.user()
    await user.send(b"name")
    assert await user.receive(4) == b"name"


async def test_every_address_of_a_port_on_all_addresses(any_net: Net) -> None:
    port, bind_port = free_port(), free_port()
    server = await any_net.server(bind_port, [f"{port}={await any_net.echo()}"])
    await any_net.client(bind_port)
    for host in (HOST, "127.0.0.9", "::1"):
        user = await any_net.dial(port, host)
        await user.send(host.encode())
        assert await user.receive(len(host)) == host.encode()
    assert next(iter(server.tunnel.ports.open.values())).total == 3


class TestProxyProtocol:
    async def test_true_is_the_version_of_v072(self, any_net: Net) -> None:
        listener = any_net.listen()
        tunnel = await any_net.tunnel(listener.port, server="proxy_protocol = true")
        user, target = await asyncio.gather(tunnel.user(), listener.accept())
        await user.send(b"hello")
        user.shut_write()
        received = await target.receive_all()
        if any_net.transport in PROXY_PROTOCOL:
            assert decode(received) == (user.address, (HOST, tunnel.ports[0]), b"hello")
        else:
            assert received == b"hello"

    async def test_the_text_of_version_1(self, any_net: Net) -> None:
        listener = any_net.listen()
        tunnel = await any_net.tunnel(listener.port, server='proxy_protocol = "v1"')
        user, target = await asyncio.gather(tunnel.user(), listener.accept())
        await user.send(b"hello")
        user.shut_write()
        host, port = user.address
        assert await target.receive_all() == f"PROXY TCP4 {host} {HOST} {port} {tunnel.ports[0]}\r\nhello".encode()

    async def test_a_table_names_the_ports(self, any_net: Net) -> None:
        listener, bind_port, ports = any_net.listen(), free_port(), (free_port(), free_port())
        mappings = [f"{HOST}:{port}={listener.port}" for port in ports]
        server = await any_net.server(bind_port, mappings, f'proxy_protocol = {{{ports[0]} = "v2"}}')
        await any_net.client(bind_port)

        async def received(port: int) -> tuple[Peer, bytes]:
            user, target = await asyncio.gather(any_net.dial(port), listener.accept())
            await user.send(b"hello")
            user.shut_write()
            return user, await target.receive_all()

        user, data = await received(ports[0])
        assert decode(data) == (user.address, (HOST, ports[0]), b"hello")
        assert (await received(ports[1]))[1] == b"hello"
        await change(server, proxy_protocol={str(ports[1]): "v1"})
        assert (await received(ports[0]))[1] == b"hello"
        assert (await received(ports[1]))[1].startswith(b"PROXY TCP4 ")

    @pytest.mark.parametrize("host", [HOST, "::1"])
    async def test_the_target_learns_the_address_and_the_port_of_the_user(self, any_net: Net, host: str) -> None:
        listener = any_net.listen()
        tunnel = await any_net.tunnel(listener.port, server='proxy_protocol = "v2"', user_host=host)
        user, target = await asyncio.gather(tunnel.user(host=host), listener.accept())
        await user.send(b"hello")
        user.shut_write()
        header = decode(await target.receive_all())
        assert header == (user.address, (host, tunnel.ports[0]), b"hello")

    async def test_an_ipv4_user_of_a_port_on_all_addresses(self, any_net: Net) -> None:
        listener, port, bind_port = any_net.listen(), free_port(), free_port()
        await any_net.server(bind_port, [f"{port}={listener.port}"], 'proxy_protocol = "v2"')
        await any_net.client(bind_port)
        user, target = await asyncio.gather(any_net.dial(port), listener.accept())
        user.shut_write()
        assert decode(await target.receive_all()) == (user.address, (HOST, port), b"")

    async def test_the_header_arrives_before_the_user_sends(self, any_net: Net) -> None:
        listener = any_net.listen()
        tunnel = await any_net.tunnel(listener.port, server='proxy_protocol = "v2"')
        user, target = await asyncio.gather(tunnel.user(), listener.accept())
        assert decode(await target.receive(28)).source == user.address

    @pytest.mark.parametrize("version", ["v1", "v2"])
    async def test_a_real_web_server_reads_it(self, any_net: Net, nginx: int, version: str) -> None:
        tunnel = await any_net.tunnel(nginx, server=f'proxy_protocol = "{version}"')
        deadline = time.monotonic() + 10
        while True:
            user = await tunnel.user()
            await user.send(b"GET / HTTP/1.0\r\n\r\n")
            try:
                answer = await user.receive_all()
                break
            except ConnectionResetError:  # it has not started yet
                assert time.monotonic() < deadline
                user.close()
        host, port = user.address
        assert answer.endswith(f"\r\n\r\n{host} {port} {HOST} {tunnel.ports[0]}".encode())


async def test_bytes_read_for_a_carrier_that_failed_are_not_lost(any_net: Net) -> None:
    """The next carrier may be of another transport, after a reload."""
    port = await any_net.echo()
    tunnel = await any_net.tunnel(port)
    await until(lambda: tunnel.server.tunnel.transport.idle)
    peer, near = await any_net.pair()
    traffic, outcomes = Traffic(Meter(), Meter()), list[Outcome]()
    user = User(near.sock, str(port), b"", traffic, outcomes.append)
    await peer.send(b"first ")
    await ready([near.sock])
    user.take_early()
    await peer.send(b"second")
    assert tunnel.server.tunnel.transport.assign(user)
    assert await peer.receive(12) == b"first second"
    peer.close()
    await until(lambda: outcomes)
    assert outcomes[0].received == traffic.received.bytes == 12
