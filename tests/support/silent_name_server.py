"""Twenty users of a name without an answer of the name server, one of a known name, and a reconnect.

A test runs it, in a separate network in which 127.0.0.1 is the name server. The process must not wait for look-ups.
"""

import asyncio
import socket

import uvloop
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.targets import serve_echo
from tests.support.tunnel import NO_WAIT, client_config, server_config

from backhaul.client import Client
from backhaul.server import Server


async def dial(port: int) -> Peer:
    """Connect to a user's port."""
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
    return Peer(sock)


async def main() -> None:
    """Print a word for each step."""
    name_server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    name_server.bind((HOST, 53))
    bind, silent, fast, target = (free_port() for _ in range(4))
    await serve_echo(HOST, target, b"")
    mappings = [f"{silent}=silent.example:80", f"{fast}=fast.example:{target}"]
    server = Server(server_config("tcp", f"{HOST}:{bind}", mappings), NO_WAIT)
    await server.start()
    client = Client(client_config("tcp", f"server.example:{bind}"))
    await client.start()
    await until(lambda: client.tunnel.connected)
    users = [await dial(silent) for _ in range(20)]
    await asyncio.get_running_loop().run_in_executor(None, name_server.recv, 512)
    await echo(await dial(fast), b"hello")
    print("served")  # noqa: T201
    client.tunnel.control_lost("the network has changed")
    await until(lambda: client.tunnel.opened == 2)
    print("back")  # noqa: T201
    del users


uvloop.run(main())
