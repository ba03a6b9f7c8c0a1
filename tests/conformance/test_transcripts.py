"""This program in the place of either end of v0.7.2: the same bytes in the same order on each connection."""

import asyncio
import re
import tomllib
from collections.abc import Callable

import pytest
from tests.support.net import HOST, PATIENCE, Listener, Peer, free_port
from tests.support.transcripts import TRANSCRIPTS, Dialect, Player
from tests.support.tunnel import LEGACY, Net

from backhaul.server import Server

WS_HEARTBEAT, WS_PING, WS_CLOSED = (bytes.fromhex(frame) for frame in ("820100", "820102", "820103"))
DIALECTS = {
    "tcp": Dialect(),
    "tcp+proxy_protocol": Dialect(),
    "tcpmux-v1": Dialect(),
    "tcpmux-v2": Dialect(),
    "ws": Dialect(heartbeat=WS_HEARTBEAT, ping=WS_PING, farewell=WS_CLOSED),
    "wsmux": Dialect(heartbeat=WS_HEARTBEAT, padded=True, farewell=WS_CLOSED),
}
# The keys of the recorded configurations that decide about bytes; addresses are those of this run.
KEYS = ("proxy_protocol", "mux_version", "connection_pool")
HEARTBEAT = 0.2  # seconds; a file may not set less than 1
TARGET, USER_PORT = b"127.0.0.1:7100", 27100
RECORDED_SERVER = b"Host: 127.0.0.1:23081"
# The first report on a stream (smux 2, stream 3, window 65536): Go's client reads the length of the target alone
# and reports that; this program takes length and target at once.
FIRST_REPORT, OUR_FIRST_REPORT = (bytes.fromhex(f"0204080003000000{taken}00000000000100") for taken in ("02", "10"))
# Its window stays at 65536 bytes. This program leaves the other end the initial 262144, and one byte more.
WINDOW = re.compile(rb"(?<=\x02\x04\x08\x00)(.{8})\x00\x00\x01\x00", re.DOTALL)
OUR_WINDOW = b"\\1\x01\x00\x04\x00"
PROXY_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def settings(recorded: str) -> tuple[str, str]:
    """Return the transport of a recorded configuration, and the lines that matter."""
    (table,) = tomllib.loads(recorded).values()
    lines = [f"{key} = {str(table[key]).lower()}" for key in KEYS if key in table]
    return table["transport"], "\n".join(lines)


NO_PATIENCE = {"hold_back": 0.05, "hold_back_answered": 0.05, "sweep": 0.05}
"""Pass a user's end on to a v0.7.2 client after a short silence instead of a long one."""


class AroundServer:
    """The test is the v0.7.2 client, and the user."""

    def __init__(self, net: Net, server: Server, bind_port: int, user_port: int) -> None:
        self._net = net
        self._server = server
        self._bind_port = bind_port
        self._user_port = user_port
        self._user: Peer | None = None
        self._stopping: asyncio.Future[None] | None = None

    async def open(self) -> Peer:
        return await self._net.dial(self._bind_port)

    async def user(self, action: str) -> None:
        if action == "close":
            assert self._user
            assert (await self._user.receive_some()).startswith(b"echo:")
            self._user.close()
        else:
            self._user = await self._net.dial(self._user_port)
            await self._user.send(b"hello")

    async def note(self, note: str) -> None:
        assert note == "server gets SIGTERM"
        self._stopping = asyncio.ensure_future(self._net.stop(self._server))

    async def stopped(self) -> None:
        assert self._stopping
        await asyncio.wait_for(self._stopping, PATIENCE)

    def rewrite(self, data: bytes) -> bytes:
        """Put v0.7.2's ports into the header of the PROXY protocol: those of the tunnel connection."""
        data = WINDOW.sub(OUR_WINDOW, data)
        start = data.find(PROXY_SIGNATURE)
        if start < 0 or not self._user:
            return data
        ports = start + 24
        real = self._user.address[1].to_bytes(2) + self._user_port.to_bytes(2)
        return data[:ports] + real + data[ports + 4 :]


class AroundClient:
    """The test is the v0.7.2 server; the target is a real service."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    async def open(self) -> Peer:
        return await self._listener.accept()

    async def user(self, action: str) -> None:
        """Do nothing: the client learns of users from the server."""

    async def note(self, note: str) -> None:
        assert note == "server gets SIGTERM"
        self._listener.close()


@pytest.mark.parametrize("name", DIALECTS)
async def test_the_server_sends_what_v072_sends(name: str) -> None:
    recorded = TRANSCRIPTS[name]
    transport, lines = settings(recorded["server_config"])
    async with Net(transport) as net:
        bind_port, user_port = free_port(), free_port()
        mapping = f"{HOST}:{user_port}={TARGET.decode()}"
        net.patience = NO_PATIENCE
        server = await net.server(bind_port, [mapping], lines, heartbeat=HEARTBEAT)
        scene = AroundServer(net, server, bind_port, user_port)
        await Player(scene, "server->client", DIALECTS[name], scene.rewrite).play(recorded["events"])
        await scene.stopped()


@pytest.mark.parametrize("name", DIALECTS)
async def test_the_client_sends_what_v072_sends(name: str) -> None:
    recorded = TRANSCRIPTS[name]
    transport, lines = settings(recorded["client_config"])
    async with Net(transport) as net:
        target_port = await net.echo(port=free_port(digits=4), greeting=b"echo:")
        listener = net.listen()
        await net.client(listener.port, f"{LEGACY}\n{lines}")
        scene = AroundClient(listener)
        rewrite = rewrite_for_client(target_port, listener.port)
        await Player(scene, "client->server", DIALECTS[name], rewrite).play(recorded["events"])


def rewrite_for_client(target_port: int, server_port: int) -> Callable[[bytes], bytes]:
    """Return a function that puts the ports of this run, and this client's own forms, into recorded bytes."""

    def rewrite(data: bytes) -> bytes:
        data = data.replace(TARGET, f"{HOST}:{target_port}".encode())
        data = data.replace(RECORDED_SERVER, f"Host: {HOST}:{server_port}".encode())
        return with_zero_mask(WINDOW.sub(OUR_WINDOW, data.replace(FIRST_REPORT, OUR_FIRST_REPORT)))

    return rewrite


def with_zero_mask(data: bytes) -> bytes:
    """Return a short WebSocket frame with a mask of zeros instead of its random one."""
    if data[0] != WS_PING[0] or not data[1] & 0x80:
        return data
    key, masked = data[2:6], data[6:]
    return data[:2] + bytes(4) + bytes(byte ^ key[index % 4] for index, byte in enumerate(masked))
