"""Link-local addresses: of a server, a user's port and a target, of the page, and of a web server for events.

A test runs it, in a separate network whose interface ``lo`` has the address fe80::a. It prints each transport, and the
finding of the doctor about the server's addresses.
"""

import socket
from contextlib import closing
from pathlib import Path

import uvloop
from tests.support.datagrams import FLOWS, UdpPeer
from tests.support.net import Peer, echo, free_port, until
from tests.support.targets import serve_echo
from tests.support.tunnel import NO_WAIT, client_config, server_config

from backhaul.client import Client
from backhaul.doctor.circumstances import Circumstances
from backhaul.doctor.ports import examine
from backhaul.monitor.http import HttpServer
from backhaul.monitor.http_messages import Request, Response
from backhaul.server import Server
from backhaul.system.event_ways import way_to

HOST = "fe80::a%lo"


def address(port: int) -> tuple[str, int, int, int]:
    """Return the long form, with the number of the interface."""
    return "fe80::a", port, 0, socket.if_nametoindex("lo")


async def main() -> None:
    """Echo something over each transport."""
    for transport in FLOWS:
        await use(transport, *(free_port() for _ in range(3)))
        print(transport)  # noqa: T201
    await tell()
    print(finding())  # noqa: T201


async def tell() -> None:
    """Send an event to the server of the page."""
    told: list[bytes] = []

    async def respond(request: Request) -> Response:
        told.append(await request.read(100))
        return Response(b"")

    server = HttpServer(respond)
    port = await server.start(HOST, 0)
    _, send = way_to(f"http://[{HOST.replace('%', '%25')}]:{port}/")
    await send(b"an event")
    await server.stop()
    assert told == [b"an event"]


def finding() -> str:
    """Return the doctor's finding about the addresses of a server that does not run."""
    config = server_config("udp", f"[{HOST}]:{free_port()}", [f"[{HOST}]:{free_port()}=1"])
    (found,) = examine(config, Circumstances(file="server.toml", proc=Path("/nowhere")))
    return found.text


async def use(transport: str, bind: int, user_port: int, target: int) -> None:
    """Echo something over one transport."""
    mapping = f"[{HOST}]:{user_port}=[{HOST}]:{target}"
    server = Server(server_config(transport, f"[{HOST}]:{bind}", [mapping]), NO_WAIT)
    await server.start()
    client = Client(client_config(transport, f"[{HOST}]:{bind}"))
    await client.start()
    await until(lambda: client.tunnel.connected)
    await (use_datagrams if transport == "udp" else use_stream)(user_port, target)
    await client.stop()
    await server.stop()


async def use_stream(port: int, target: int) -> None:
    """Echo bytes."""
    echo_service = await serve_echo(HOST, target)
    sock = socket.socket(socket.AF_INET6)
    sock.connect(address(port))  # uvloop loses the interface
    user = Peer(sock)
    await echo(user, b"hello")
    user.close()
    await echo_service.stop()


async def use_datagrams(port: int, target: int) -> None:
    """Echo a datagram."""
    with closing(UdpPeer(bound(target))) as echo_service, closing(UdpPeer(bound(0))) as user:
        user.send(b"hello", address(port))
        said, client = await echo_service.receive_from()
        echo_service.send(said, client)
        assert await user.receive() == b"hello"


def bound(port: int) -> socket.socket:
    """Return a UDP socket."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(address(port))
    return sock


uvloop.run(main())
