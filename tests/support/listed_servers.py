"""A client of servers that dnsmasq lists in SRV records: one comes, the name server goes, and one is left.

A test runs it, in a separate network in which 127.0.0.1 is the name server.
"""

import asyncio
import shutil
from dataclasses import replace
from typing import Final

import uvloop
from tests.support.net import HOST, free_port, until
from tests.support.tunnel import NO_WAIT, SETTLED, client_config, server_config

from backhaul.client import Client
from backhaul.server import Server
from backhaul.tunnel.timings import Timings

SERVICE: Final = "_backhaul._tcp.example.test"
Process = asyncio.subprocess.Process


async def publish(*ports: int) -> Process:
    """Start a name server that lists servers at these ports."""
    program = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"
    options = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file"]
    options += ["--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", f"--host-record=a.test,{HOST}"]
    options += [f"--srv-host={SERVICE},a.test,{port},10,5" for port in ports]
    return await asyncio.create_subprocess_exec(program, *options)


async def end(name_server: Process) -> None:
    name_server.terminate()
    await name_server.wait()


def connected(client: Client) -> set[int]:
    """Return the ports of the servers to which a client is connected."""
    return {int(one.name.rpartition(":")[2]) for one in client.state().servers if one.session.connected}


async def main() -> None:
    """Print a word for each step."""
    one, other = ports = free_port(), free_port()
    name_server = await publish(one)
    servers = [Server(server_config("tcp", f"{HOST}:{port}", []), NO_WAIT) for port in ports]
    for server in servers:
        await server.start()
    config = client_config("tcp", f"all:{SERVICE}")
    client = Client(config, timings=replace(Timings(**SETTLED), names=0.1))
    await client.start()
    await until(lambda: connected(client) == {one})
    print("connected")  # noqa: T201
    await end(name_server)
    name_server = await publish(one, other)
    await until(lambda: connected(client) == {one, other})
    print("joined")  # noqa: T201
    await end(name_server)
    name_server = await publish(other)
    await servers[0].stop()
    await until(lambda: [server.name for server in client.state().servers] == [f"a.test:{other}"])
    print("left", servers[1].tunnel.opened)  # noqa: T201
    await end(name_server)


uvloop.run(main())
