"""The doctor and servers that answer in unusual ways: each has its finding, and the finding its remedy."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support.doctor import SOON, only, travel, verdicts
from tests.support.forward_proxy import ForwardProxy
from tests.support.net import HOST, Peer
from tests.support.public import Public
from tests.support.tunnel import Net, client_config
from tests.support.web import switching

from backhaul.doctor.finding import Finding, Verdict
from backhaul.wire.frames import Sealed

Play = Callable[[Peer, bytes], Awaitable[None]]
"""Answers a request."""


async def played(net: Net, transport: str, play: Play, lines: str = "") -> list[Finding]:
    """Return the findings about a server that the test plays."""
    listener = net.listen()

    async def serve() -> None:
        while True:
            peer = await listener.accept()
            if request := await peer.receive_some():
                await play(peer, request)
            peer.close()

    serving = asyncio.ensure_future(serve())
    try:
        return await travel(client_config(transport, f"{HOST}:{listener.port}", lines), waits=SOON)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def reset(peer: Peer, _: bytes) -> None:
    peer.reset()


async def forge(peer: Peer, _: bytes) -> None:
    await peer.send(Sealed.HANDSHAKE.frame(bytes(100), 0))


async def upgrade(peer: Peer, request: bytes) -> None:
    await peer.send(switching(request))


async def refuse(peer: Peer, _: bytes) -> None:
    await peer.send(b"HTTP/1.1 401 Unauthorized\r\n\r\n")


@pytest.mark.parametrize(
    ("transport", "play", "text", "remedy"),
    [
        ("tcp", reset, "the connection broke: connection reset", "something in between may close it"),
        ("tcp", forge, "the program that answers does not have this token", "compare token and transport"),
        ("ws", upgrade, "a WebSocket server answered, without the handshake", "in between pass cookies"),
    ],
    ids=["a reset", "another key", "no cookie"],
)
async def test_a_server_that_does_not_fit(net: Net, transport: str, play: Play, text: str, remedy: str) -> None:
    found = await played(net, transport, play)
    finding = only(found)
    assert finding.subject == "handshake"
    assert text in finding.text
    assert remedy in finding.remedy
    assert found[-1] is finding


async def test_a_server_of_v072_and_a_client_that_requires_protection(net: Net) -> None:
    finding = only(await played(net, "ws", refuse, 'security = "required"'))
    assert finding.text == "the server answered 401, as v0.7.2 does, and this file requires protection"
    assert finding.remedy == "run this program on the server, too"


async def test_an_answer_in_pieces(net: Net, public: Public) -> None:
    async def trickle(peer: Peer, request: bytes) -> None:
        server = await net.dial(public.port)
        await server.send(request)
        for byte in await server.receive_all():
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)

    assert verdicts(await played(net, "tcp", trickle))["handshake"] is Verdict.OK


async def test_a_server_whose_name_only_the_proxy_knows(public: Public) -> None:
    def names(_name: str) -> Any:  # noqa: ANN401 - never returns
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    proxy = ForwardProxy("http", "")
    await proxy.start(None)
    found = await travel(client_config("tcp", f"localhost:{public.port}", f'proxy = "{proxy.url()}"'), names=names)
    await proxy.stop()
    assert set(verdicts(found).values()) == {Verdict.OK}
