"""Clients of one server in a process of their own, each with a service that sends the client's name.

A test runs it: the arguments are the transport, the port of the server, and the names of the clients. The services
listen at the same port on an address for each client, which its targets' name stands for.
"""

import asyncio
import socket
import sys
from typing import Final

import uvloop
from tests.support.clients import token_of
from tests.support.net import HOST, until
from tests.support.targets import serve_echo
from tests.support.tunnel import SETTLED, client_config

from backhaul.client import Client
from backhaul.net.resolver import LookUp
from backhaul.tunnel.timings import Timings

TARGET: Final = "service.test"


def address_of(number: int) -> str:
    """Return the address of the service of a client."""
    return f"127.2.{number // 200}.{number % 200 + 1}"


def only(address: str) -> LookUp:
    """Return a look-up that finds this address for every name."""
    return lambda _: ((socket.AF_INET, (address, 0)),)


async def start(transport: str, bind_port: int, target: int, number: int) -> Client:
    """Start a client and its service."""
    name, address = f"client-{number}", address_of(number)
    await serve_echo(address, target, f"{name} ".encode())
    config = client_config(transport, f"{HOST}:{bind_port}", f'token = "{token_of(name)}"', connection_pool=1)
    client = Client(config, names=only(address), timings=Timings(**SETTLED))
    await client.start()
    return client


async def main(transport: str, bind_port: str, target: str, *numbers: str) -> None:
    """Serve until the input ends."""
    clients = [await start(transport, int(bind_port), int(target), int(number)) for number in numbers]
    await until(lambda: all(client.session().connected for client in clients), patience=60)
    print("connected", flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.gather(*(client.stop() for client in clients))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
