"""Plays one end of a recorded conversation of a v0.7.2 server and client.

The test sends exactly the bytes that v0.7.2 sent. The end under test has to send what v0.7.2 sent in its place, in this
order on each connection. The player settles what the protocol leaves open: which of several equal tunnel connections
carries a user, where heartbeats fall, the random parts of an upgrade, and the ports of this run.
"""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .net import PATIENCE, Peer, ready

Event = dict[str, Any]
TRANSCRIPTS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data/transcripts.json").read_text())


@dataclass(frozen=True)
class Dialect:
    """The properties of a transport that a player needs."""

    heartbeat: bytes = b"\x00"  # on the control channel; their number between two events is left to the clock
    ping: bytes = b""  # the server's heartbeat on idle tunnel connections
    padded: bool = False  # this server's answer on tunnel connections ends with BUFFER bytes beyond v0.7.2
    farewell: bytes = b""  # bytes of this server at the end of the control channel beyond v0.7.2


BUFFER = 4096  # bytes: Go's bufio.Reader, through which v0.7.2's client reads an answer
_END_OF_HEAD = b"\r\n\r\n"
_KEY = re.compile(rb"Sec-WebSocket-Key: ([A-Za-z0-9+/]{22}==)\r\n")
_USER_ID = re.compile(rb"X-User-Id: (\d+)\r\n")
_ACCEPT = re.compile(rb"(?<=Sec-WebSocket-Accept: )[^\r]+")
_ANY_BROWSER = re.compile(rb"(?<=User-Agent: )[^\r]+")
_OFFER = re.compile(rb"Sec-WebSocket-Extensions: permessage-deflate[^\r]+\r\n")  # this client offers no compression
_PADDING = re.compile(rb"Set-Cookie: [^\r]+\r\n(?=\r\n$)")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Scene(Protocol):
    """The environment of the two ends: connections, users, the end of the server."""

    async def open(self) -> Peer:
        """Return the next connection between the two ends."""

    async def user(self, action: str) -> None:
        """Repeat an action of the recorded user."""

    async def note(self, note: str) -> None:
        """Repeat an action of the recorder."""


class Player:
    """Plays one transcript; ``we`` is the direction in which the end under test sends."""

    def __init__(self, scene: Scene, we: str, dialect: Dialect, rewrite: Callable[[bytes], bytes]) -> None:
        self._scene = scene
        self._direction = we
        self._dialect = dialect
        self._rewrite = rewrite
        self._cast: dict[int, Peer] = {}  # by the number in the transcript
        self._unassigned: list[Peer] = []  # open, but without bytes so far
        self._idle: set[int] = set()  # upgraded tunnel connections without a user, all of them equal
        self._received: dict[Peer, bytearray] = {}
        self._keys: dict[Peer, bytes] = {}  # of the upgrades that this client requested

    async def play(self, events: list[Event]) -> None:
        """Play the transcript; AssertionError if the end under test deviates."""
        for event in self._causes_first(events):
            if "user" in event:
                await self._scene.user(event["user"])
            elif "note" in event:
                await self._scene.note(event["note"])
            elif event["dir"] == "open":
                await self._open()
            elif event["dir"] == self._direction:
                await self._expect(event)
            else:
                await self._send(event)

    def _causes_first(self, events: list[Event]) -> list[Event]:
        """Move users before their announcement, which the recorder noted first in some cases."""
        ordered: list[Event] = []
        for event in events:
            place = len(ordered)
            while event.get("user", "close") != "close" and self._is_payload(ordered[place - 1]):
                place -= 1
            ordered.insert(place, event)
        return ordered

    def _is_payload(self, event: Event) -> bool:
        return "hex" in event and event["conn"] > 0 and bytes.fromhex(event["hex"]) != self._dialect.ping

    async def _open(self) -> None:
        peer = await self._scene.open()
        self._received[peer] = bytearray()
        self._unassigned.append(peer)

    async def _send(self, event: Event) -> None:
        peer = self._cast.get(event["conn"]) or self._assign(event["conn"], self._unassigned[0])
        if event.get("eof"):
            peer.shut_write()
        elif "http" in event:
            await peer.send(self._upgrade(peer, event))
        else:
            await peer.send(self._rewrite(bytes.fromhex(event["hex"])))
        self._note_use(event)

    def _upgrade(self, peer: Peer, event: Event) -> bytes:
        """Return the recorded request, or the recorded answer with the key of this client's request."""
        head = _head(event)
        return _ACCEPT.sub(_accept(self._keys[peer]), head) if peer in self._keys else head

    def _note_use(self, event: Event) -> None:
        """Note the idle tunnel connections, which are upgraded but have had no payload."""
        if "http" in event and event["conn"]:
            self._idle.add(event["conn"])
        elif not event.get("eof") and self._is_payload(event):
            self._idle.discard(event["conn"])

    async def _expect(self, event: Event) -> None:
        number = event["conn"]
        if number in self._idle and self._is_payload(event):
            await self._exchange(number)
        peer = self._cast.get(number) or self._assign(number, await self._first_to_send(self._unassigned))
        if event.get("eof"):
            await self._expect_end(number, peer)
        elif "http" in event:
            await self._expect_upgrade(peer, event)
        else:
            await self._expect_bytes(peer, self._rewrite(bytes.fromhex(event["hex"])), self._between(number))
        self._note_use(event)

    async def _exchange(self, number: int) -> None:
        """Give ``number`` to the idle connection on which the end under test sends first."""
        sender = await self._first_to_send([self._cast[idle] for idle in self._idle])
        (other,) = (idle for idle in self._idle if self._cast[idle] is sender)
        self._cast[number], self._cast[other] = sender, self._cast[number]

    def _between(self, number: int) -> bytes:
        """Return the bytes that the end under test may send on a connection at any time."""
        if number == 0:
            return self._dialect.heartbeat
        return self._dialect.ping if self._direction == "server->client" else b""

    def _assign(self, number: int, peer: Peer) -> Peer:
        self._unassigned.remove(peer)
        self._cast[number] = peer
        return peer

    async def _first_to_send(self, peers: list[Peer]) -> Peer:
        async with asyncio.timeout(PATIENCE):
            while True:
                for peer in peers:
                    if await self._has_sent(peer):
                        return peer
                await ready(peer.sock for peer in peers)

    async def _has_sent(self, peer: Peer) -> bool:
        """Return whether the end under test has sent more than signs of life, or has ended the connection."""
        if not peer.silent():
            chunk = await peer.receive_some()
            self._received[peer] += chunk
            _drop(self._received[peer], self._dialect.ping)
            return not chunk or bool(self._received[peer])
        return bool(self._received[peer])

    async def _expect_bytes(self, peer: Peer, expected: bytes, between: bytes) -> None:
        received = self._received[peer]
        ignored = b"" if expected.startswith(between) else between
        _drop(received, ignored)
        while len(received) < len(expected):
            chunk = await peer.receive_some()
            assert chunk, f"ended with {received.hex()} where {expected.hex()} was due"
            received += chunk
            _drop(received, ignored)
        assert received[: len(expected)].hex() == expected.hex()
        del received[: len(expected)]

    async def _expect_upgrade(self, peer: Peer, event: Event) -> None:
        head = await self._receive_head(peer)
        if self._direction == "client->server":
            assert _without_chance(head) == _without_chance(self._rewrite(_head(event)))
            self._keys[peer] = _find(_KEY, head)
        elif event["conn"] and self._dialect.padded:
            assert _PADDING.sub(b"", head) == _head(event)
            assert len(head) - len(_head(event)) + len(b"\r\n") == BUFFER  # the line and the blank line
        else:
            assert head == _head(event)

    async def _receive_head(self, peer: Peer) -> bytes:
        received = self._received[peer]
        while _END_OF_HEAD not in received:
            chunk = await peer.receive_some()
            assert chunk, f"ended with {bytes(received)!r} within an upgrade"
            received += chunk
        end = received.index(_END_OF_HEAD) + len(_END_OF_HEAD)
        head = bytes(received[:end])
        del received[:end]
        return head

    async def _expect_end(self, number: int, peer: Peer) -> None:
        rest = self._received[peer] + await peer.receive_all()
        if number or self._direction == "server->client":
            _drop(rest, self._between(number))
        assert rest.hex() == (b"" if number else self._farewell()).hex()

    def _farewell(self) -> bytes:
        return self._dialect.farewell if self._direction == "server->client" else b""


def _drop(received: bytearray, between: bytes) -> None:
    while between and received.startswith(between):
        del received[: len(between)]


def _head(event: Event) -> bytes:
    return "\r\n".join([event["http"], *event["headers"], "", ""]).encode()


def _accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def _without_chance(request: bytes) -> bytes:
    """Return the request with placeholders for its random parts; the user's id is in the path, too."""
    for part in (_KEY, _USER_ID):
        request = request.replace(_find(part, request), b"<random>")
    return _OFFER.sub(b"", _ANY_BROWSER.sub(b"<browser>", request))


def _find(part: re.Pattern[bytes], head: bytes) -> bytes:
    found = part.search(head)
    assert found, f"{head!r} has no {part.pattern!r}"
    return found[1]
