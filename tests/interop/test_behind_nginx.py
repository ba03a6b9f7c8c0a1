"""Whole tunnels through nginx as a reverse proxy, which shows a website to all other visitors."""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.cert import certificate
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net, Tunnel

USERS = 20
MEGABYTE = os.urandom(1 << 20)
PATH = 'path = "/assets"'
TERMINATED = (
    "TLS is terminated between client and server; if that is your CDN or proxy, set tls_verify = true on the client"
)
CONFIGURATION = """
daemon off; pid {directory}/pid; error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{front} {ssl};
        ssl_certificate {cert}; ssl_certificate_key {key};
        location / {{ return 200 "a website"; }}
        location /assets/ {{
            proxy_pass {scheme}://127.0.0.1:{back};
            proxy_ssl_verify off;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
            proxy_read_timeout {patience};
        }}
        location /silence/ {{ proxy_pass http://127.0.0.1:{silent}/; proxy_read_timeout {patience}; }}
    }}
}}
"""


class Route(NamedTuple):
    """The transports of both ends; if they differ, nginx terminates TLS."""

    client: str
    server: str

    def __str__(self) -> str:
        return f"{self.client}-to-{self.server}"


ROUTES = [
    Route("ws", "ws"),
    Route("wss", "ws"),
    Route("wss", "wss"),
    Route("wsmux", "wsmux"),
    Route("wssmux", "wsmux"),
    Route("wssmux", "wssmux"),
]

Start = Callable[..., int]


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Start]:
    """Start nginx in front of a port; return its own port."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    running: list[subprocess.Popen[bytes]] = []
    # nginx inherits the listening socket, as from its predecessor in an upgrade, so it can be connected to at once.
    with socket.create_server((HOST, 0)) as front:
        front.setblocking(False)

        def start(route: Route, back: int, patience: str = "1h", silent: int = 9) -> int:
            port: int = front.getsockname()[1]
            configuration = tmp_path / "nginx.conf"
            configuration.write_text(_configuration(route, tmp_path, port, back, patience=patience, silent=silent))
            command = [program, "-p", str(tmp_path), "-e", str(tmp_path / "error.log"), "-c", str(configuration)]
            running.append(subprocess.Popen(command, env={"NGINX": f"{front.fileno()};"}, pass_fds=[front.fileno()]))
            return port

        yield start
        for process in running:
            process.terminate()
            process.wait()


def _configuration(route: Route, directory: Path, front: int, back: int, **values: Any) -> str:  # noqa: ANN401
    cert, key = certificate()
    return CONFIGURATION.format(
        directory=directory,
        front=front,
        back=back,
        cert=cert,
        key=key,
        ssl="ssl" if route.client.startswith("wss") else "",
        scheme="https" if route.server.startswith("wss") else "http",
        **values,
    )


@pytest.fixture(params=ROUTES, ids=str)
async def proxied(request: pytest.FixtureRequest, nginx: Start) -> AsyncIterator[Tunnel]:
    """Provide a tunnel to an echo, below a path of the website; a test may play the target of the second port."""
    route: Route = request.param
    bind_port, ports, target = free_port(), [free_port(), free_port()], free_port()
    front = nginx(route, bind_port)
    async with Net(route.server) as net:
        mappings = [f"{HOST}:{ports[0]}={await net.echo()}", f"{HOST}:{ports[1]}={target}"]
        server = await net.server(bind_port, mappings, PATH)
        net.transport = route.client
        tunnel = Tunnel(server, await net.client(front, PATH), bind_port, [*ports, target], net)
        await until(lambda: tunnel.connected)
        yield tunnel


async def test_every_byte_is_echoed(proxied: Tunnel) -> None:
    user = await proxied.user()
    _, heard = await asyncio.gather(user.send(MEGABYTE), user.receive(len(MEGABYTE)))
    assert heard == MEGABYTE


async def test_many_users_at_a_time(proxied: Tunnel) -> None:
    async def visit(number: int) -> None:
        user = await proxied.user()
        said = f"user {number}".encode() * 1000
        await user.send(said)
        assert await user.receive(len(said)) == said
        user.close()

    await asyncio.gather(*map(visit, range(USERS)))


async def test_a_user_who_has_finished_gets_the_answer(proxied: Tunnel) -> None:
    listener = proxied.net.listen(proxied.ports[2])
    user, target = await asyncio.gather(proxied.user(1), listener.accept())
    await user.send(b"question")
    user.shut_write()
    assert await target.receive_all() == b"question"
    await target.send(b"answer")
    target.close()
    assert await user.receive_all() == b"answer"


SECURE_ROUTES = [
    Route("ws", "ws"),
    Route("wss", "ws"),
    Route("wss", "wss"),  # nginx has the server's own certificate, so TLS counts as one from end to end
    Route("wssmux", "wsmux"),
]


@pytest.mark.parametrize("route", SECURE_ROUTES, ids=str)
async def test_payload_is_sealed_where_nginx_terminates_unverified_tls(
    route: Route, nginx: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with Net(route.server) as net:
        server = await net.server(bind_port := free_port(), lines=PATH)
        net.transport = route.client
        await net.client(nginx(route, bind_port), PATH)
        await until(lambda: server.tunnel.connected)
        terminated = route.client != route.server
        keys = server.tunnel.transport.session.keys
        assert keys
        assert keys.payload is terminated
        assert caplog.text.count(TERMINATED) == (2 if terminated else 0)  # in the log of each end


@pytest.mark.parametrize("demanding", ["server", "client"])
@pytest.mark.parametrize("route", [Route("wss", "ws"), Route("wssmux", "wsmux")], ids=str)
async def test_required_refuses_unverified_tls_that_nginx_terminates(
    route: Route, nginx: Start, demanding: str, caplog: pytest.LogCaptureFixture
) -> None:
    required = {demanding: f'{PATH}\nsecurity = "required"'}
    async with Net(route.server) as net:
        server = await net.server(bind_port := free_port(), lines=required.get("server", PATH))
        net.transport = route.client
        client = await net.client(nginx(route, bind_port), required.get("client", PATH))
        await until(lambda: f"refused by the server: {TERMINATED}" in caplog.text)
        assert TERMINATED in server.tunnel.problem
        assert not server.tunnel.opened
        assert not client.tunnel.opened


@pytest.mark.parametrize("route", SECURE_ROUTES, ids=str)
async def test_required_accepts_verified_tls_that_nginx_terminates(
    route: Route, nginx: Start, caplog: pytest.LogCaptureFixture
) -> None:
    required = f'{PATH}\nsecurity = "required"'
    tls = f'tls_verify = true\ntls_ca = "{certificate()[0]}"' if route.client != "ws" else ""
    port = free_port()
    async with Net(route.server) as net:
        server = await net.server(bind_port := free_port(), [f"{HOST}:{port}={await net.echo()}"], required)
        net.transport = route.client
        await net.client(nginx(route, bind_port), f"{required}\n{tls}")
        await until(lambda: server.tunnel.connected)
        keys = server.tunnel.transport.session.keys
        assert keys
        assert not keys.payload
        await echo(await net.dial(port), b"hello")
        assert TERMINATED not in caplog.text


@pytest.mark.parametrize("route", [route for route in ROUTES if not route.client.endswith("mux")], ids=str)
async def test_silence_beyond_the_patience_of_nginx_ends_nothing(route: Route, nginx: Start) -> None:
    bind_port, port = free_port(), free_port()
    async with Net(route.server) as net:
        front = nginx(route, bind_port, patience="500ms", silent=net.listen().port)
        net.patience = {"quiet": 0.1}
        server = await net.server(bind_port, [f"{HOST}:{port}={await net.echo()}"], PATH)
        net.transport = route.client
        client = await net.client(front, f"{PATH}\nconnection_pool = 2")
        await until(lambda: server.tunnel.transport.idle)
        user = await net.dial(port)
        await echo(user, b"before")
        await until(lambda: server.tunnel.transport.idle)
        for _ in range(2):
            assert b" 504 " in await asyncio.to_thread(_give_up, front, route)
        await echo(user, b"after")
        assert server.tunnel.transport.idle == 1
        assert (server.tunnel.opened, client.tunnel.opened) == (1, 1)


@pytest.mark.parametrize("route", [Route("ws", "ws"), Route("wss", "ws")], ids=str)
async def test_a_time_out_of_nginx_that_is_too_short_is_named(
    route: Route, nginx: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with Net(route.server) as net:
        net.patience, net.timings = {"cut": 0.1}, {"look": 0.05, "ask": 0.2, "ask_in_use": 0.2}
        bind_port = free_port()
        await net.server(bind_port, lines=PATH)
        net.transport = route.client
        await net.client(nginx(route, bind_port, patience="500ms"), f"{PATH}\nconnection_pool = 1")
        await until(lambda: "tunnel connections are closed from outside" in caplog.text)
        assert "raise its time-out, or set keepalive_period = 1" in caplog.text


def _give_up(front: int, route: Route) -> bytes:
    """Return the answer of nginx after it has waited too long for a silent website."""
    with socket.create_connection((HOST, front)) as plain, contextlib.ExitStack() as stack:
        sock = plain
        if route.client.startswith("wss"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = stack.enter_context(context.wrap_socket(plain))
        sock.sendall(b"GET /silence/ HTTP/1.0\r\n\r\n")
        return sock.recv(1000)
