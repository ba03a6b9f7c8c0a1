"""Tunnels in this process: configurations, both ends, and tools of tests for them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import pytest

from backhaul.client import Client
from backhaul.config import ClientConfig, ServerConfig
from backhaul.config.diff import diff
from backhaul.config.loader import parse
from backhaul.net.listeners import Listeners
from backhaul.net.resolver import LookUp, look_up
from backhaul.relay.engine import Relay
from backhaul.relay.patience import Patience
from backhaul.server import Server
from backhaul.transports.auth import KnownServers
from backhaul.transports.settings import DEFAULT_LIMITS
from backhaul.tunnel.ledger import NOWHERE, Store
from backhaul.tunnel.timings import Timings

from .cert import tls_lines
from .clock import Clock
from .leaks import Books
from .middlebox import Line, Middlebox
from .net import HOST, PATIENCE, Peer, Sockets, free_port, until
from .targets import Service, serve_echo

TOKEN = "s3cret"
BUILT = (
    "tcp",
    "tcpmux",
    "ws",
    "wss",
    "wsmux",
    "wssmux",
)  # the transports of this version, all with the same behaviour

LEGACY = 'security = "legacy"'  # the line of an end whose peer a test plays as v0.7.2

PROXY_PROTOCOL = ("tcp", "tcpmux", "wsmux", "wssmux")  # the transports on which v0.7.2 has it

# No wait for further users during a stop; users and flows may wait for long while the machine is busy.
NO_WAIT = Timings(quiet=0, user_patience=PATIENCE, flow_patience=PATIENCE)

SETTLED: dict[str, Any] = {"settle": 0.1}  # seconds at a stop for a server that is gone, or played by a test

# A client that soon doubts its server.
IN_A_HURRY: dict[str, Any] = {"silence": 0.5, "beats": 0.001, "look": 0.02}

# The same, but a busy server has time to answer.
IN_DOUBT: dict[str, Any] = IN_A_HURRY | {"silence": 10.0, "doubt": 0.04}

# Far shorter than any configuration allows, so that they do not slow down the tests.
FAST: dict[str, Any] = {"retry_interval": 0.05}


class Lines(NamedTuple):
    """The lines of a transport's configuration beyond those of every transport."""

    server: str = ""
    client: str = ""


LINES = {name: Lines(tls_lines() if name.startswith("wss") else "") for name in (*BUILT, "udp")}


def server_config(
    transport: str,
    bind: str,
    ports: Sequence[str],
    lines: str = "",
    **unchecked: Any,  # noqa: ANN401 - any key
) -> ServerConfig:
    """Read a server's configuration; ``unchecked`` replaces keys by values that a file may not have."""
    mappings = ", ".join(f'"{mapping}"' for mapping in ports)
    text = f'[server]\nbind_addr = "{bind}"\ntransport = "{transport}"\ntoken = "{TOKEN}"\nports = [{mappings}]\n'
    config = parse(f"{text}{LINES[transport].server}\n{lines}\n")
    assert isinstance(config, ServerConfig)
    return msgspec.structs.replace(config, **unchecked)


def client_config(
    transport: str,
    remote: str,
    lines: str = "",
    **unchecked: Any,  # noqa: ANN401 - any key
) -> ClientConfig:
    """Read a client's configuration; ``unchecked`` replaces keys by values that a file may not have."""
    text = f'[client]\nremote_addr = "{remote}"\ntransport = "{transport}"\n'
    token = "" if "token" in lines else f'token = "{TOKEN}"\n'
    config = parse(f"{text}{token}{LINES[transport].client}\n{lines}\n")
    assert isinstance(config, ClientConfig)
    replaced = FAST | unchecked
    others = tuple(msgspec.structs.replace(other, **replaced) for other in config.others)
    return msgspec.structs.replace(config, others=others, **replaced)


async def turned_away(tunnel: "Tunnel") -> None:
    """Connect as a user who is reset, perhaps before the connection is reported."""
    with pytest.raises(ConnectionResetError):
        await (await tunnel.user()).receive_some()


def refused(server: Server) -> dict[str, int]:
    """Return the refused users of all ports by reason."""
    return {refusal.reason: refusal.count for port in server.state().ports for refusal in port.refusals}


async def change(end: Server | Client, **keys: Any) -> None:  # noqa: ANN401 - any key
    """Reload a running end with other values of ``keys``."""
    if isinstance(end, Server):
        server = msgspec.structs.replace(end.config, **keys)
        await end.reconfigure(server, diff(end.config, server))
    else:
        client = msgspec.structs.replace(end.config, **keys)
        await end.reconfigure(client)


@dataclass
class Tunnel:
    """Both ends of a running tunnel."""

    server: Server
    client: Client
    bind_port: int
    ports: list[int]
    net: "Net"

    async def user(self, index: int = 0, **options: Any) -> Peer:  # noqa: ANN401 - those of dial
        """Connect to a local port of the server."""
        return await self.net.dial(self.ports[index], **options)

    @property
    def connected(self) -> bool:
        """True if both ends have a control channel."""
        return self.server.tunnel.connected and self.client.tunnel.connected


def _left(relay: Relay) -> dict[str, int]:
    """Return what a relay counts although its end has stopped; a number that is too large or too small stays so."""
    state, resumption = relay.state(), relay.resumption
    counts = {
        "users": state.users,
        "flows": state.flows,
        "unsent": state.unsent,
        "sessions": len(state.links),
        "half-closed": relay.watched,
        "resumable": len(resumption.links),
        "parked": resumption.parked,
        "spooled": resumption.held,
    }
    return {name: count for name, count in counts.items() if count}


class Net(Sockets):
    """Everything that a test opens. At the end it is closed, and nothing may remain."""

    def __init__(self, transport: str) -> None:
        super().__init__()
        self.transport = transport
        self.limits = DEFAULT_LIMITS  # for servers started from now on
        self.store: Store = NOWHERE  # of their users' bytes
        self.clock = Clock()  # which tells the day of these bytes
        self.patience: dict[str, Any] = {}  # replaces limits of Patience in the ends that are started from now on
        self.timings: dict[str, Any] = {}  # the same for limits of Timings
        self._books = Books()
        self._services: list[Service] = []
        self._servers: list[Server] = []
        self._clients: list[Client] = []
        self.middleboxes: list[Middlebox] = []

    async def __aenter__(self) -> Self:
        await self._books.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.timeout(3 * PATIENCE):  # nothing else ends a test whose time is over
            await self._close()

    async def echo(self, host: str = HOST, port: int = 0, greeting: bytes = b"") -> int:
        """Start an echo service; return its port."""
        port = port or free_port(host)
        await self.service(port, host, greeting)
        return port

    async def service(self, port: int, host: str = HOST, greeting: bytes = b"") -> Service:
        """Start an echo service, and return it."""
        self._services.append(await serve_echo(host, port, greeting))
        return self._services[-1]

    async def echo_at(self, path: Path) -> None:
        """Start an echo service on a Unix socket."""
        service = Service(b"")
        await service.start_at(str(path))
        self._services.append(service)

    async def server(
        self,
        bind_port: int,
        ports: Sequence[str] = (),
        lines: str = "",
        *,
        host: str = HOST,
        timings: Timings = NO_WAIT,
        listeners: Listeners | None = None,
        **unchecked: Any,  # noqa: ANN401 - any key
    ) -> Server:
        """Start a server."""
        config = server_config(self.transport, f"{host}:{bind_port}", ports, lines, **unchecked)
        return await self.run(config, timings, listeners)

    async def run(self, config: ServerConfig, timings: Timings = NO_WAIT, listeners: Listeners | None = None) -> Server:
        """Start the server of a configuration."""
        timings = replace(timings, **self.timings)
        patience = Patience(**self.patience)
        server = Server(config, timings, self.limits, listeners, patience, store=self.store, clock=self.clock)
        await server.start()
        self._servers.append(server)
        return server

    async def client(
        self,
        remote_port: int,
        lines: str = "",
        *,
        host: str = HOST,
        names: LookUp = look_up,
        descriptors: int = 1 << 16,
        known: KnownServers | None = None,
        **unchecked: Any,  # noqa: ANN401 - any key
    ) -> Client:
        """Start a client; ``names`` finds the addresses of names, ``descriptors`` limits open files.

        Without ``known`` it forgets its servers.
        """
        config = client_config(self.transport, f"{host}:{remote_port}", lines, **unchecked)
        return await self.connect(config, names=names, descriptors=lambda: descriptors, known=known)

    async def connect(self, config: ClientConfig, **around: Any) -> Client:  # noqa: ANN401 - as of Client
        """Start the client of a configuration."""
        timings, patience = Timings(**(SETTLED | self.timings)), Patience(**self.patience)
        client = Client(config, timings=timings, patience=patience, **around)
        await client.start()
        self._clients.append(client)
        return client

    def middlebox(self, port: int, line: Line = Line(), *, at: int = 0) -> Middlebox:  # noqa: B008 - immutable
        """Put a middlebox between a client and the server on ``port``; answers arrive after two delays.

        It listens on port ``at``, or on a free one.
        """
        self.middleboxes.append(Middlebox(self.listen(at), port, line))
        return self.middleboxes[-1]

    async def remove(self, middlebox: Middlebox) -> None:
        """Cut all paths of a middlebox, and let it refuse others."""
        self.middleboxes.remove(middlebox)
        await middlebox.close()
        middlebox.listener.close()

    async def tunnel(self, *targets: int | str, server: str = "", client: str = "", user_host: str = HOST) -> Tunnel:
        """Start both ends, with a local port for each target, and wait until they are connected."""
        bind_port = free_port()
        ports = [free_port(user_host) for _ in targets]
        shown = f"[{user_host}]" if ":" in user_host else user_host
        mappings = [f"{shown}:{port}={target}" for port, target in zip(ports, targets, strict=True)]
        tunnel = Tunnel(
            await self.server(bind_port, mappings, server), await self.client(bind_port, client), bind_port, ports, self
        )
        await until(lambda: tunnel.connected)
        return tunnel

    async def stop(self, end: Server | Client) -> None:
        """Stop one end before the test is over."""
        if isinstance(end, Server):
            self._servers.remove(end)
        else:
            self._clients.remove(end)
        await end.stop()

    async def _close(self) -> None:
        """Close everything; AssertionError if a pair, a pipe, a descriptor or a task remains."""
        self.close_peers()
        ends: list[Server | Client] = [*self._clients, *self._servers]
        for end in ends:
            for link in list(end.relay.resumption.links.values()):
                link.keep_no_longer()  # the test may have closed the line already
        try:
            await until(lambda: not any(end.relay.busy for end in ends), patience=5)
        except TimeoutError:
            raise AssertionError(f"pairs live on: {[end.relay.busy for end in ends]}") from None
        finally:
            for end in ends:
                await end.stop()
            for middlebox in self.middleboxes:
                await middlebox.close()
            self.close_listeners()
            for service in self._services:
                await service.stop()
        assert [end.relay.pipes.lent for end in ends] == [0] * len(ends)
        assert {end: left for end in ends if (left := _left(end.relay))} == {}
        await self._books.balance()
