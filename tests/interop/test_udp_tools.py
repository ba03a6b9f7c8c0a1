"""Datagrams of foreign programs: a DNS server, iperf3, and a bad network."""

import asyncio
import contextlib
import fcntl
import functools
import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.apart import Namespace
from tests.support.datagrams import FLOWS, UdpNet, UdpPeer, repeat
from tests.support.net import HOST, PATIENCE, free_port, until
from tests.support.tunnel import TOKEN

SOURCES = Path(__file__).parents[2] / "src"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000  # <linux/if_tun.h>


@pytest.fixture(params=FLOWS)
async def flow_net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    async with UdpNet(request.param) as net:
        yield net


def tool(name: str) -> str:
    """Return the path of a program; skip the test if it is not installed."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


@contextlib.asynccontextmanager
async def running(*argv: str, **options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program, and stop it at the end."""
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*argv, stdout=quiet, stderr=quiet, env={**os.environ, **options})
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def dns_query(number: int, name: str) -> bytes:
    """Return a query for the IPv4 address of ``name`` (RFC 1035, section 4)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


async def test_a_dns_server(flow_net: UdpNet) -> None:
    port = free_port()
    server = [
        tool("dnsmasq"),
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--pid-file",
    ]
    options = [f"--listen-address={HOST}", "--bind-interfaces", f"--port={port}", "--address=/example.test/192.0.2.7"]
    async with running(*server, *options):
        tunnel = await flow_net.flows(port)
        first = flow_net.udp(tunnel.ports[0])
        await repeat(lambda: first.send(dns_query(0, "example.test")), lambda: first.heard)
        users = [flow_net.udp(tunnel.ports[0]) for _ in range(100)]
        for number, user in enumerate(users):
            user.send(dns_query(number, f"host{number}.example.test"))
        for number, user in enumerate(users):
            answer = await user.receive()
            assert answer[:2] == struct.pack("!H", number)
            assert answer.endswith(bytes([192, 0, 2, 7]))
        if flow_net.transport == "tcp":  # the same port, over TCP (RFC 1035, section 4.2.2)
            stream, query = await tunnel.user(), dns_query(1, "example.test")
            await stream.send(struct.pack("!H", len(query)) + query)
            (size,) = struct.unpack("!H", await stream.receive(2))
            assert (await stream.receive(size)).endswith(bytes([192, 0, 2, 7]))
            stream.close()


@pytest.mark.parametrize(("size", "options"), [(1200, []), (1200, ["-R"]), (16000, [])], ids=["up", "down", "large"])
async def test_iperf3_over_tcp_and_udp_of_the_same_port(size: int, options: list[str]) -> None:
    port = free_port()
    iperf3 = tool("iperf3")
    async with UdpNet("tcp") as net, running(iperf3, "-s", "-B", HOST, "-p", str(port)):
        tunnel = await net.flows(port)
        # 0.6 seconds, at a pace at which sockets hold what comes while a busy machine does something else.
        argv = [iperf3, "-J", "-u", "-b", "5M", "-n", "400K", "-l", str(size), "-c", HOST]
        argv += ["-p", str(tunnel.ports[0]), *options]
        result = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        output, _ = await asyncio.wait_for(result.communicate(), PATIENCE)
        total = json.loads(output)["end"]["sum"]
        assert total["packets"] >= 25
        assert total["lost_percent"] < 5


class Wire:
    """One direction between two TUN devices, in which packets are late, out of order, repeated or lost."""

    def __init__(self, source: int, sink: int, *, bad: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._sink = sink
        self._bad = bad
        self._random = random.Random(source)  # noqa: S311 - no secret
        self._loop.add_reader(source, self._readable)

    def close(self) -> None:
        """Stop forwarding."""
        self._loop.remove_reader(self._source)
        self._source = -1

    def _readable(self) -> None:
        packet = os.read(self._source, 1 << 16)
        if not self._bad:
            self._deliver(packet)
            return
        for _ in range(self._random.choices((0, 1, 2), (0.03, 0.95, 0.02))[0]):
            self._loop.call_later(self._random.choice((0.005, 0.005, 0.005, 0.008)), self._deliver, packet)

    def _deliver(self, packet: bytes) -> None:
        if self._source >= 0:
            os.write(self._sink, packet)


def open_tun(space: Namespace) -> int:
    """Make the device ``tunnel`` in the namespace; return the descriptor for its packets."""
    with space.entered():
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tunnel", IFF_TUN | IFF_NO_PI))
    return tun


def make_bad(space: Namespace) -> None:
    """Let the kernel's netem make the network bad."""
    space.run(f"{tool('tc')} qdisc add dev tunnel root netem delay 5ms reorder 25% loss 3% duplicate 2%")


@functools.cache
def objection_to_netem() -> str:
    """Return why the kernel can't, or nothing."""
    command = ["unshare", "--net", tool("tc"), "qdisc", "add", "dev", "lo", "root", "netem", "loss", "3%"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()


@pytest.fixture(params=["tun", "netem"])
async def bad_network(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Namespace, Namespace]]:
    """Connect two namespaces, 10.9.8.1 and 10.9.8.2, by a bad network: one made by the test, or by the kernel."""
    if os.geteuid() or not os.access("/dev/net/tun", os.W_OK):
        pytest.skip("making network namespaces and TUN devices takes root")
    ip = tool("ip")
    if request.param == "netem" and (objection := objection_to_netem()):
        pytest.skip(f"no netem in this kernel: {objection}")
    with contextlib.ExitStack() as held:
        near, far = (held.enter_context(contextlib.closing(Namespace())) for _ in range(2))
        await until(lambda: near.ready and far.ready)
        tuns = []
        for space, address in ((near, "10.9.8.1 peer 10.9.8.2"), (far, "10.9.8.2 peer 10.9.8.1")):
            tuns.append(open_tun(space))
            held.callback(os.close, tuns[-1])
            for command in (f"address add {address} dev tunnel", "link set tunnel up", "link set lo up"):
                space.run(f"{ip} {command}")
        for source, sink in (tuns, reversed(tuns)):
            held.enter_context(contextlib.closing(Wire(source, sink, bad=request.param == "tun")))
        if request.param == "netem":
            make_bad(near)
            make_bad(far)
        yield near, far


@pytest.fixture(params=["udp", "tcp", "tcpmux", "ws"])
async def lossy_net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    """One of each way to carry and to frame datagrams: all streams are repaired by the same TCP of the kernel."""
    async with UdpNet(request.param) as net:
        yield net


def numbered(number: int) -> bytes:
    return b"%d:" % number + bytes([number % 256]) * 1100


async def test_a_network_that_loses_repeats_and_reorders(
    lossy_net: UdpNet, bad_network: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    near, far = bad_network
    bind_port, port = free_port(), free_port()
    with far.entered():
        echo = lossy_net.udp_echo()
    with near.entered():
        lines = FLOWS[lossy_net.transport]
        server = await lossy_net.server(bind_port, [f"{HOST}:{port}={echo.port}"], lines, host="10.9.8.1")
        user = lossy_net.udp(port)
    config = tmp_path / "client.toml"
    config.write_text(
        f'[client]\nremote_addr = "10.9.8.1:{bind_port}"\ntransport = "{lossy_net.transport}"\n'
        f'token = "{TOKEN}"\nskip_optz = true\n'
    )
    client = ["nsenter", f"--net={far.path}", sys.executable, "-m", "backhaul", "-c", str(config)]
    async with running(*client, PYTHONPATH=str(SOURCES)):
        await until(lambda: server.tunnel.connected and server.tunnel.transport.idle)  # such a network takes time
        heard = await rounds(user)
        (listening,) = server.tunnel.ports.open.values()
        assert listening.udp.total == 1
    assert set(heard) <= {numbered(number) for number in range(400)}
    if lossy_net.transport != "udp":
        assert heard == [numbered(number) for number in range(400)]
    else:
        assert len(set(heard)) > 280
        assert len(heard) > len(set(heard)), "nothing was repeated: is the network as bad as it should be?"
        assert heard != sorted(heard, key=lambda data: int(data.partition(b":")[0]))


async def rounds(user: UdpPeer) -> list[bytes]:
    """Send 400 datagrams to an echo, 20 at a time, and after each round a mark until it returns."""
    heard = []
    for first in range(0, 400, 20):
        for number in range(first, first + 20):
            user.send(numbered(number))
        mark = b"echo:mark %d" % first
        await repeat(lambda first=first: user.send(b"mark %d" % first), lambda mark=mark: mark in dict(user.heard))  # type: ignore[misc]
        heard += [user.heard.popleft()[0] for _ in range(len(user.heard))]
    return [data for data in heard if not data.startswith(b"echo:mark")]
