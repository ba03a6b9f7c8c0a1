"""An unexpected exception ends its connection with a reset: no hang, no hole in the bytes, no other user affected."""

import asyncio
import functools
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from tests.support.net import Peer, echo, until
from tests.support.tunnel import BUILT, Net, Tunnel

from backhaul.net.poller import Owner
from backhaul.net.pollers import EpollPoller
from backhaul.relay.traffic import Meter, Traffic
from backhaul.wire.signals import Signal

BULK = bytes(range(256)) * (1 << 15)


class SabotageError(Exception):
    """An exception that the program does not expect."""


class Saboteur(EpollPoller):
    """A poller that lets a callback of one owner raise after its work, once the class is armed."""

    victim = ""  # name of the owner's class, or of a base
    armed = False

    def own(self, sock: socket.socket, readable: Callable[[], None], owner: Owner) -> None:
        """Wrap the callback."""
        super().own(sock, functools.partial(self._call, readable), owner)

    def on_readable(self, sock: socket.socket, callback: Callable[[], None]) -> None:
        """Wrap the callback."""
        super().on_readable(sock, functools.partial(self._call, callback))

    def on_writable(self, sock: socket.socket, callback: Callable[[], None]) -> None:
        """Wrap the callback."""
        super().on_writable(sock, functools.partial(self._call, callback))

    def _call(self, callback: Callable[[], None]) -> None:
        callback()
        if self.armed and self.victim in {kind.__name__ for kind in type(_owner(callback)).mro()}:
            type(self).armed = False
            raise SabotageError


def _owner(callback: Any) -> object:  # noqa: ANN401 - a bound method, or a partial one
    return getattr(getattr(callback, "func", callback), "__self__", None)


class Case(NamedTuple):
    transport: str
    victim: str
    end: str

    def __str__(self) -> str:
        return "-".join(self)


def cases(victims: dict[str, str]) -> list[Case]:
    """Return the cases for the owners that each transport has, on both ends."""
    return [
        Case(transport, victim, end)
        for transport in BUILT
        for victim in victims[transport].split()
        for end in ("server", "client")
    ]


@pytest.fixture
def saboteur(case: Case, monkeypatch: pytest.MonkeyPatch) -> type[Saboteur]:
    """Return the poller of one end, not armed yet."""
    made = type("Saboteur", (Saboteur,), {"victim": case.victim})
    monkeypatch.setattr(f"backhaul.{case.end}.make_poller", made)
    return made


async def connected(net: Net, tunnel: Tunnel, port: int) -> tuple[Peer, Peer]:
    """Return a user of the tunnel's first port, and the target's end."""
    listener = net.listen(port)
    return await asyncio.gather(tunnel.user(), listener.accept())


async def drained(peer: Peer) -> int:
    """Read to the end, which must be a reset; return the bytes before it."""
    count = 0
    try:
        while chunk := await peer.receive_some():
            count += len(chunk)
    except ConnectionResetError:
        return count
    raise AssertionError(f"an orderly end after {count} bytes")


async def served(tunnel: Tunnel, index: int) -> bool:
    """Return whether a new user is served."""
    user = await tunnel.user(index)
    try:
        await echo(user, b"hello")
    except (ConnectionError, EOFError):
        return False
    return True


RELAYS = dict.fromkeys(("tcpmux", "wsmux", "wssmux"), "Link FramedRelay") | {
    "tcp": "MessageChannel FramedRelay",
    "ws": "MessageChannel FramedRelay",
    "wss": "MessageChannel FramedRelay",
}


@pytest.mark.parametrize("towards", ["user", "target"])
@pytest.mark.parametrize("case", cases(RELAYS), ids=str)
async def test_in_the_data_path(case: Case, saboteur: type[Saboteur], towards: str) -> None:
    async with Net(case.transport) as net:
        listener = net.listen()
        tunnel = await net.tunnel(listener.port, await net.echo())
        user, target = await asyncio.gather(tunnel.user(), listener.accept())
        bystander = await tunnel.user(1)
        await echo(bystander, b"before")
        sender, receiver = (target, user) if towards == "user" else (user, target)
        await sender.send(b"begun")
        assert await receiver.receive(5) == b"begun"
        saboteur.armed = True
        sending = asyncio.ensure_future(sender.send(BULK))
        await receiver.send(b"at both ends and both ways there is something to do")
        assert await drained(receiver) <= len(BULK)
        (failure,) = await asyncio.gather(sending, return_exceptions=True)
        if failure is None:
            await drained(sender)
        else:
            assert isinstance(failure, ConnectionError)
        assert not saboteur.armed
        if case.victim != "Link":
            await echo(bystander, b"after")
        assert await served(tunnel, 1)


IDLE = [
    *(Case(transport, "ControlChannel", "client") for transport in BUILT),
    Case("tcp", "ClearIdleConnection", "client"),
    *(Case(transport, "WsIdleConnection", "client") for transport in ("ws", "wss")),
    *(Case(transport, "Acceptor", "server") for transport in ("tcp", "tcpmux", "wss")),
    *(Case(transport, "Lobby", "server") for transport in ("tcp", "ws")),
    Case("wss", "Handshakes", "server"),
]


@pytest.mark.parametrize("case", IDLE, ids=str)
async def test_elsewhere(case: Case, saboteur: type[Saboteur]) -> None:
    """Users in flight continue, and the tunnel recovers."""
    async with Net(case.transport) as net:
        tunnel = await net.tunnel(await net.echo(), client="connection_pool = 2")
        user, pending = await tunnel.user(), await net.dial(tunnel.bind_port)
        await echo(user, b"before")
        saboteur.armed = True
        await pending.send(b"? ? ? ? ")  # there is something to do for the lobby, and this is no session
        tunnel.server.tunnel.transport.session.send(Signal.HEARTBEAT)  # and for the control channel
        for _ in range(20):
            if await served(tunnel, 0) and not saboteur.armed:
                break
        await until(lambda: not saboteur.armed and tunnel.connected)
        assert await served(tunnel, 0)
        await echo(user, b"after")


class Unreliable(Meter):
    """Fails every fourth time that it counts bytes."""

    _times = 0

    @property
    def bytes(self) -> int:
        """The count."""
        return 0

    @bytes.setter  # noqa: A003 - the property above
    def bytes(self, count: int) -> None:
        self._times += bool(count)
        if count and not self._times % 4:
            raise SabotageError


@pytest.mark.parametrize("end", ["server", "client"])
@pytest.mark.parametrize("towards", ["user", "target"])
async def test_with_one_connection_of_a_session(any_net: Net, towards: str, end: str) -> None:
    """The others get the bytes of the same read, however often one of them fails."""
    listener = any_net.listen()
    tunnel = await any_net.tunnel(listener.port, await any_net.echo())
    traffic = Traffic(Unreliable(), Unreliable())
    if end == "server":
        next(iter(tunnel.server.tunnel.ports.open.values())).traffic = traffic
    else:
        user, _ = await asyncio.gather(tunnel.user(), listener.accept())
        await until(lambda: tunnel.client.tunnel.targets)
        tunnel.client.tunnel.targets[str(listener.port)].traffic = traffic
    bystander = await tunnel.user(1)
    talking = asyncio.ensure_future(_talk(bystander))
    for _ in range(3):
        user, target = await asyncio.gather(tunnel.user(), listener.accept())
        sender, receiver = (target, user) if towards == "user" else (user, target)
        sending = asyncio.ensure_future(sender.send(BULK))
        assert await drained(receiver) < len(BULK)
        await asyncio.gather(sending, return_exceptions=True)
    await talking
    await echo(bystander, b"after")


async def _talk(user: Peer) -> None:
    for number in range(300):
        await echo(user, b"%d" % number * 1000)
