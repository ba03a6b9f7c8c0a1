"""A tunnel whose line tests cut, and whose users continue."""

import asyncio
import random
from collections.abc import Callable

from backhaul.client import Client
from backhaul.mux.resumable_link import ResumableLink
from backhaul.server import Server
from backhaul.state import ResumptionState

from .middlebox import Line, Middlebox
from .mux import links_of
from .net import HOST, Peer, echo, free_port, until
from .tunnel import Net

_WIDE = Line()
BULK = random.Random(18).randbytes(4_000_000)  # noqa: S311 - bytes that repeat nowhere


def with_resumption(lines: str) -> str:
    """Return the lines of an end whose sessions can be resumed, unless they say otherwise."""
    return lines if "resume_timeout" in lines else f"resume_timeout = 60\n{lines}"


class Torn:
    """A tunnel through a middlebox, with two sessions."""

    def __init__(self, net: Net, server: Server, client: Client, middlebox: Middlebox, port: int) -> None:
        self.net, self.server, self.client, self.middlebox, self.port = net, server, client, middlebox, port

    @classmethod
    async def start(
        cls, net: Net, server: str = "", client: str = "", *, pool: int = 2, target: int = 0, line: Line = _WIDE
    ) -> "Torn":
        """Start both ends; without a ``target`` there is an echo."""
        bind_port, port = free_port(), free_port()
        one = await net.server(bind_port, [f"{HOST}:{port}={target or await net.echo()}"], with_resumption(server))
        middlebox = net.middlebox(bind_port, line)
        other = await net.client(middlebox.port, f"connection_pool = {pool}\n{with_resumption(client)}")
        await until(lambda: len(links_of(one)) == len(links_of(other)) == pool)
        return cls(net, one, other, middlebox, port)

    @classmethod
    async def with_user(cls, net: Net) -> tuple["Torn", Peer, Peer]:
        """Start both ends with one session; return the tunnel, a user on it, and the user's target."""
        listener = net.listen()
        torn = await cls.start(net, pool=1, target=listener.port)
        return torn, await net.dial(torn.port), await listener.accept()

    async def user(self) -> Peer:
        user = await self.net.dial(self.port)
        await echo(user, b"hello")
        return user

    async def cut(self, *, control: bool = False) -> None:
        """Reset the tunnel connections, and the control channel as well."""
        kept = [] if control else self.middlebox.paths[:1]
        cut = self.middlebox.paths[len(kept) :]
        self.middlebox.paths[:] = kept
        for path in cut:
            await path.cut()

    @property
    def resumed(self) -> ResumptionState:
        return self.client.state().relay.resumption


async def exchange(user: Peer, data: bytes = BULK) -> bytes:
    """Send ``data`` and return its echo."""
    _, answer = await asyncio.gather(user.send(data), user.receive(len(data)))
    return answer


def sessions(end: Server | Client) -> list[ResumableLink]:
    """Return the sessions of an end."""
    return [link for link in links_of(end) if isinstance(link, ResumableLink)]


def progress(end: Server | Client) -> Callable[[], bool]:
    """Return the question whether each session has received something since now."""
    before = {link: link.received for link in sessions(end)}
    return lambda: all(link.received > count for link, count in before.items())


def begun(end: Client) -> Callable[[], bool]:
    """Return the question whether any session has received something since now."""
    before = sum(link.received for link in sessions(end))
    return lambda: sum(link.received for link in sessions(end)) > before
