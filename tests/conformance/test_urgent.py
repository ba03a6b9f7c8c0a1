"""Urgent data stays where it was sent, as RFC 6093 recommends: telnet and FTP mark a byte of a command with it."""

import asyncio
import os
import socket

import pytest
from tests.support.net import Peer, free_port
from tests.support.tunnel import Net

BLOCK = os.urandom(3_000_000)


async def send_urgently(peer: Peer, before: bytes, after: bytes) -> None:
    """Send ``before`` with its last byte as urgent data, and then ``after``."""
    await peer.send(before[:-1])
    assert peer.sock.send(before[-1:], socket.MSG_OOB) == 1
    await peer.send(after)


@pytest.mark.both_loops
@pytest.mark.parametrize(("before", "after"), [(b"\xff\xf4\xff\xf2", b"ABOR\r\n"), (BLOCK, BLOCK), (b"\xf2", b"")])
async def test_urgent_bytes_are_not_lost(plane: str, any_net: Net, before: bytes, after: bytes) -> None:
    port = free_port()
    listener = any_net.listen(port)
    tunnel = await any_net.tunnel(port)
    user, target = await asyncio.gather(tunnel.user(), listener.accept())
    for source, sink in ((user, target), (target, user), (user, target)):
        sink.sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        _, received = await asyncio.gather(send_urgently(source, before, after), sink.receive(len(before) + len(after)))
        assert received == before + after
