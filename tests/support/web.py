"""HTTP and WebSocket for one end that a test plays: v0.7.2 or a visitor."""

import base64
import hashlib
import re

from .net import Peer
from .tunnel import TOKEN, Net

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the example of RFC 6455 section 1.3
UPGRADE = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA  # RFC 6455 section 5.2
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_MASK = b"\x01\x02\x03\x04"


def knock(path: str, lines: str = "", method: str = "GET") -> bytes:
    """Return a request."""
    return f"{method} {path} HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n".encode()


def with_token(token: str = TOKEN, path: str = "/channel") -> bytes:
    """Return the request for an upgrade."""
    return knock(path, f"{UPGRADE}Authorization: Bearer {token}\r\n")


def frame(opcode: int, payload: bytes, *, masked: bool = False) -> bytes:
    """Return a message of at most 125 bytes."""
    if not masked:
        return bytes([0x80 | opcode, len(payload)]) + payload
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + _MASK + _unmask(payload, _MASK)


async def receive_frame(peer: Peer) -> tuple[int, bytes]:
    """Return opcode and payload of the next message of at most 125 bytes."""
    first, length = await peer.receive(2)
    mask = await peer.receive(4) if length & 0x80 else bytes(4)
    return first & 0x0F, _unmask(await peer.receive(length & 0x7F), mask)


async def receive_head(peer: Peer) -> bytes:
    """Return a request or an answer up to its blank line, without a byte after it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await peer.receive(1)
    return head


async def receive_answer(peer: Peer, *, head_only: bool = False) -> bytes:
    """Return an answer without its date."""
    head = await receive_head(peer)
    length = re.search(rb"Content-Length: (\d+)", head)
    body = b"" if head_only or not length else await peer.receive(int(length[1]))
    return re.sub(rb"Date: [^\r]*\r\n", b"", head) + body


async def answer_to(net: Net, port: int, data: bytes) -> bytes:
    """Send something to the tunnel's port; return its answer."""
    visitor = await net.dial(port)
    await visitor.send(data)
    return await receive_answer(visitor, head_only=data.startswith(b"HEAD "))


async def upgraded(net: Net, port: int, path: str = "/channel") -> Peer:
    """Connect and upgrade as v0.7.2's client does."""
    peer = await net.dial(port)
    await peer.send(with_token(path=path))
    assert (await receive_head(peer)).startswith(b"HTTP/1.1 101 ")
    return peer


def switching(request: bytes) -> bytes:
    """Return the answer of v0.7.2's server to a request for an upgrade."""
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    proof = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return head + b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"


def _unmask(payload: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ mask[position % 4] for position, byte in enumerate(payload))
