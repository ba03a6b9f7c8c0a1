"""A server shows a guess at its token nothing that it does not show to random bytes."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.net import Peer, free_port, until
from tests.support.protected_client import ProtectedClient, ProtectedVisitor, ask, begin, client_settings, framed
from tests.support.tunnel import Net
from tests.support.web import receive_answer

from backhaul.wire.frames import Sealed, encode

GUESS = client_settings(token="guess")
SIZE = 300  # bytes of a first message with its padding


def wrong_token(transport: str) -> bytes:
    """Return the first message of a client with another token."""
    return begin(transport, GUESS).message


def right_token_altered(transport: str) -> bytes:
    """Return the first message of the right client, with one bit flipped."""
    message = bytearray(begin(transport).message)
    message[-1] ^= 1
    return bytes(message)


def noise(_transport: str) -> bytes:
    """Return random bytes."""
    return os.urandom(SIZE)


MESSAGES = [wrong_token, right_token_altered]
Make = Callable[[str], bytes]


async def reaction(peer: Peer, data: bytes) -> tuple[bytes, bool]:
    """Return the answer to ``data``, and whether the connection ends in order."""
    await peer.send(data)
    answer = bytearray()
    try:
        while piece := await peer.receive_some():
            answer += piece
    except ConnectionResetError:
        return bytes(answer), False
    return bytes(answer), True


async def connect(net: Net, port: int) -> None:
    """Connect the right client."""
    end = ProtectedVisitor if net.transport == "ws" else ProtectedClient
    await (await end.dial(net, port)).confirm()


@pytest.mark.parametrize("lines", ['security = "auto"', 'security = "required"'])
@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "unfinished"])
@pytest.mark.parametrize("make", MESSAGES)
async def test_in_frames(make: Make, cut: int, lines: str, *, connected: bool) -> None:
    async with Net("tcp") as net:
        net.limits = replace(net.limits, handshake_timeout=0.5 if cut else 2)
        server = await net.server(port := free_port(), lines=lines)
        if connected:
            await connect(net, port)
        seen = [
            reaction(await net.dial(port), data[: len(data) - cut] + rest * (not cut))
            for data in (framed(Sealed.HANDSHAKE, make("tcp")), framed(Sealed.HANDSHAKE, noise("tcp")), random_frame())
            for rest in (b"", b"more")
        ]
        assert set(await asyncio.gather(*seen)) == {(b"", True)}
        assert server.tunnel.connected == connected


def random_frame() -> bytes:
    """Return random bytes that have the length of a message in front, and the highest bit set after it."""
    return encode(0x80 | os.urandom(1)[0], os.urandom(SIZE))


@pytest.mark.parametrize("lines", ['security = "auto"', 'security = "required"'])
@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("path", ["/channel", "/tunnel/1"])
@pytest.mark.parametrize("make", MESSAGES)
async def test_in_cookies(make: Make, path: str, lines: str, *, connected: bool) -> None:
    async with Net("ws") as net:
        server = await net.server(port := free_port(), lines=lines)
        if connected:
            await connect(net, port)
        seen = set()
        for message in (make("ws"), noise("ws"), os.urandom(70), b"\0"):
            request, _ = ask(message, path)
            peer = await net.dial(port)
            await peer.send(request)
            seen.add(await receive_answer(peer))
            seen.add((await reaction(peer, b"nonsense\r\n\r\n"))[0].partition(b"\r\n")[0])
        assert [answer.partition(b"\r\n")[0] for answer in sorted(seen)] == [
            b"HTTP/1.1 400 Bad Request",
            b"HTTP/1.1 404 Not Found",
        ]
        await until(lambda: server.tunnel.connected == connected)
