"""Connections through a proxy that a test plays: cut answers, refusals, silence, and the end of the dialer."""

import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.support.names import Names
from tests.support.net import HOST, PATIENCE, Listener, Peer, free_port, until
from tests.support.tunnel import Net

from backhaul.net.bridge import Bridges
from backhaul.net.poller import Poller
from backhaul.net.pollers import make_poller
from backhaul.net.proxy import Proxy, ProxyKind
from backhaul.net.resolver import Resolver
from backhaul.net.sockets import SocketOptions
from backhaul.net.ways import make_dialer

pytestmark = pytest.mark.both_loops
OPTIONS = SocketOptions()
SERVER, PORT = "server.example", 3080
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
GRANTED = b"\5\0\0\1" + bytes(6)
KINDS: tuple[ProxyKind, ...] = ("http", "socks5h")
Play = Callable[[Peer], Awaitable[None]]


class Desk:
    """A dialer towards a proxy that the test plays, and the outcome of its attempts."""

    def __init__(self, net: Net, poller: Poller, proxy: Proxy, timeout: float = PATIENCE) -> None:
        self.net = net
        self.names = Names(proxy_example=HOST, server_example="192.0.2.7", gone_example=socket.gaierror(-2, "No such"))
        self.resolver = Resolver(lookup=self.names)
        self.dialer = make_dialer(poller, timeout, self.resolver, proxy, Bridges())
        self.outcomes: list[socket.socket | OSError] = []

    def dial(self, host: str = SERVER) -> None:
        """Begin to connect."""
        self.dialer.dial(host, PORT, OPTIONS, self.outcomes.append)

    async def error(self) -> OSError:
        """Wait for the outcome, which must be an error."""
        await until(lambda: self.outcomes)
        [outcome] = self.outcomes
        assert isinstance(outcome, OSError)
        return outcome

    async def connected(self) -> Peer:
        """Wait for the connection."""
        await until(lambda: self.outcomes)
        [outcome] = self.outcomes
        assert isinstance(outcome, socket.socket), outcome
        return self.net.keep(Peer(outcome))

    def close(self) -> None:
        """Close the dialer and its parts."""
        self.dialer.close()
        self.names.let_go()
        self.resolver.close()


@pytest.fixture
async def poller(net: Net) -> AsyncIterator[Poller]:
    poller = make_poller()
    yield poller
    poller.close()


@pytest.fixture
def listener(net: Net) -> Listener:
    return net.listen()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> ProxyKind:
    found: ProxyKind = request.param
    return found


async def greet(peer: Peer, kind: ProxyKind) -> bytes:
    """Play the proxy up to its last answer, which is returned."""
    if kind == "http":
        await peer.receive(len(f"CONNECT {SERVER}:{PORT} HTTP/1.1\r\nHost: {SERVER}:{PORT}\r\n\r\n"))
        return ESTABLISHED
    assert await peer.receive(3) == b"\5\1\0"
    await peer.send(b"\5\0")
    await peer.receive(7 + len(SERVER))
    return GRANTED


async def test_the_servers_first_bytes_are_left_to_the_caller(
    net: Net, poller: Poller, listener: Listener, kind: ProxyKind
) -> None:
    desk = Desk(net, poller, Proxy(kind, HOST, listener.port))
    desk.dial()
    proxy = await listener.accept()
    await proxy.send(await greet(proxy, kind) + b"first bytes")
    peer = await desk.connected()
    assert await peer.receive(11) == b"first bytes"
    assert desk.dialer.peer_of(peer.sock, SERVER) == f"{SERVER} via {kind}://{HOST}:{listener.port}"
    desk.close()


async def test_an_answer_byte_by_byte(net: Net, poller: Poller, listener: Listener, kind: ProxyKind) -> None:
    desk = Desk(net, poller, Proxy(kind, HOST, listener.port))
    desk.dial()
    proxy = await listener.accept()
    proxy.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in await greet(proxy, kind):
        await proxy.send(bytes([byte]))
    await proxy.send(b"x")
    assert await (await desk.connected()).receive(1) == b"x"
    desk.close()


@pytest.mark.parametrize("answer", [b"nonsense", b"\5\xff", b"H" * 20000])
async def test_a_refusal_is_told_with_the_proxys_name(
    net: Net, poller: Poller, listener: Listener, kind: ProxyKind, answer: bytes
) -> None:
    desk = Desk(net, poller, Proxy(kind, HOST, listener.port, "me", "swordfish"))
    desk.dial()
    proxy = await listener.accept()
    await proxy.send(answer)
    error = str(await desk.error())
    assert f"proxy {kind}://{HOST}:{listener.port}: " in error
    assert "swordfish" not in error
    await proxy.closed()
    desk.close()


async def test_a_proxy_that_closes_the_connection(
    net: Net, poller: Poller, listener: Listener, kind: ProxyKind
) -> None:
    desk = Desk(net, poller, Proxy(kind, HOST, listener.port))
    desk.dial()
    proxy = await listener.accept()
    await greet(proxy, kind)
    proxy.shut_write()
    assert "it closed the connection without an answer" in str(await desk.error())
    desk.close()


async def test_a_proxy_that_never_answers(net: Net, poller: Poller, listener: Listener, kind: ProxyKind) -> None:
    desk = Desk(net, poller, Proxy(kind, HOST, listener.port), timeout=0.05)
    desk.dial()
    proxy = await listener.accept()
    assert "it did not answer within 0.05 s" in str(await desk.error())
    assert await proxy.closed()
    desk.close()


class TestTls:
    """A proxy over TLS whose handshake does not succeed; others are in the tests of whole tunnels."""

    async def test_no_tls(self, net: Net, poller: Poller, listener: Listener) -> None:
        desk = Desk(net, poller, Proxy("https", HOST, listener.port))
        desk.dial()
        proxy = await listener.accept()
        await proxy.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert f"proxy https://{HOST}:{listener.port}: TLS handshake failed" in str(await desk.error())
        desk.close()

    async def test_no_answer(self, net: Net, poller: Poller, listener: Listener) -> None:
        desk = Desk(net, poller, Proxy("https", HOST, listener.port), timeout=0.05)
        desk.dial()
        proxy = await listener.accept()
        assert "it did not answer within 0.05 s" in str(await desk.error())
        await proxy.closed()
        desk.close()


async def test_a_proxy_that_is_down(net: Net, poller: Poller) -> None:
    port = free_port()
    desk = Desk(net, poller, Proxy("http", HOST, port))
    desk.dial()
    error = await desk.error()
    assert (error.errno, error.strerror) == (errno.ECONNREFUSED, f"proxy http://{HOST}:{port}: connection refused")
    desk.close()


async def test_a_proxy_without_an_address(net: Net, poller: Poller) -> None:
    desk = Desk(net, poller, Proxy("socks5", "gone.example", 1080))
    desk.dial()
    assert (await desk.error()).strerror == "proxy socks5://gone.example:1080: no such"
    desk.close()


async def test_a_name_that_the_proxy_cannot_look_up(net: Net, poller: Poller) -> None:
    desk = Desk(net, poller, Proxy("http", HOST, 1))
    desk.dial("ü" * 80)
    assert "is no valid host name" in str(await desk.error())
    desk.close()


class TestLookUps:
    """Of socks5 the client looks up the server's name, of socks5h the proxy does."""

    async def test_here(self, net: Net, poller: Poller, listener: Listener) -> None:
        desk = Desk(net, poller, Proxy("socks5", "proxy.example", listener.port))
        desk.dial()
        proxy = await listener.accept()
        await proxy.receive(3)
        await proxy.send(b"\5\0")
        assert await proxy.receive(10) == b"\5\1\0\1\xc0\0\2\7\x0c\x08"
        await proxy.send(GRANTED)
        assert desk.dialer.host_of((await desk.connected()).sock, SERVER) == "192.0.2.7"
        desk.close()

    async def test_there(self, net: Net, poller: Poller, listener: Listener) -> None:
        desk = Desk(net, poller, Proxy("socks5h", HOST, listener.port))
        desk.dial()
        proxy = await listener.accept()
        await proxy.receive(3)
        await proxy.send(b"\5\0")
        assert await proxy.receive(5 + len(SERVER)) == b"\5\1\0\3\x0e" + SERVER.encode()
        assert not desk.names.asked
        desk.close()
        assert (await desk.error()).errno == errno.ECANCELED

    async def test_a_name_without_an_address_is_no_fault_of_the_proxy(self, net: Net, poller: Poller) -> None:
        desk = Desk(net, poller, Proxy("socks5", HOST, 1))
        desk.dial("gone.example")
        assert (await desk.error()).strerror == "No such"
        desk.close()

    async def test_the_time_limit_includes_the_look_up(self, net: Net, poller: Poller) -> None:
        desk = Desk(net, poller, Proxy("socks5", HOST, 1), timeout=0.05)
        desk.dial("silent.example")
        assert (await desk.error()).errno == errno.ETIMEDOUT
        desk.close()


@pytest.mark.parametrize("stage", ["looking up", "connecting", "asking"])
async def test_closing_ends_every_attempt_once(net: Net, poller: Poller, listener: Listener, stage: str) -> None:
    desk = Desk(net, poller, Proxy("socks5", "silent.example" if stage == "connecting" else HOST, listener.port))
    desk.dial("silent.example" if stage == "looking up" else "192.0.2.7")
    if stage == "asking":
        await (await listener.accept()).receive(3)
    desk.close()
    assert (await desk.error()).errno == errno.ECANCELED
    await until(lambda: not desk.resolver.running)
    assert len(desk.outcomes) == 1


@pytest.mark.parametrize("end", [errno.ECANCELED, errno.ETIMEDOUT])
async def test_a_name_found_after_the_end_is_not_dialled(
    net: Net, poller: Poller, listener: Listener, end: int
) -> None:
    timeout = 0.05 if end == errno.ETIMEDOUT else PATIENCE
    desk = Desk(net, poller, Proxy("socks5", HOST, listener.port), timeout)
    desk.dial("silent.example")
    if end == errno.ECANCELED:
        desk.dialer.close()
    assert (await desk.error()).errno == end
    desk.names.known["silent.example"] = "192.0.2.7"
    desk.names.let_go()
    await until(lambda: not desk.resolver.running)
    desk.close()
    assert len(desk.outcomes) == 1


async def test_an_attempt_that_has_failed_does_not_expire_as_well(net: Net, poller: Poller, listener: Listener) -> None:
    desk, later = Desk(net, poller, Proxy("socks5", HOST, listener.port), timeout=0.05), list[object]()
    desk.dial("gone.example")
    desk.dial("192.0.2.7")
    proxy = await listener.accept()
    await proxy.receive(3)
    await proxy.send(b"\5\xff")
    await until(lambda: len(desk.outcomes) == 2)
    desk.dialer.dial("silent.example", PORT, OPTIONS, later.append)
    await until(lambda: later)
    desk.close()
    assert (len(desk.outcomes), len(later)) == (2, 1)
