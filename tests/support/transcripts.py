"""Plays what a real v0.7.2 server and client said to each other, in the place of one of them.

What the test sends is byte for byte what v0.7.2 sent; what our end sends has to be what v0.7.2 sent in its place,
in this order on each connection. What the protocol leaves open is settled here: which of several equal tunnel
connections carries a user, where heartbeats fall, what is random in an upgrade, and the ports of this run.
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
    """What has to be known of a transport to play its transcript."""

    heartbeat: bytes = b"\x00"  # on the control channel; how many fall between two events is left to the clock
    extension: bytes = b""  # what our client says on the control channel beyond v0.7.2, documented to be ignored
    ping: bytes = b""  # the server's heartbeat on idle tunnel connections
    greeting: bytes = b""  # what our client says on a tunnel connection beyond v0.7.2, and the Go library ignores
    padded: bool = False  # whether our server's answer on tunnel connections ends with BUFFER bytes beyond v0.7.2
    farewell: bytes = b""  # what our server says on the control channel at its end beyond v0.7.2


BUFFER = 4096  # bytes: Go's bufio.Reader, through which v0.7.2's client reads an answer
_END_OF_HEAD = b"\r\n\r\n"
_KEY = re.compile(rb"Sec-WebSocket-Key: ([A-Za-z0-9+/]{22}==)\r\n")
_USER_ID = re.compile(rb"X-User-Id: (\d+)\r\n")
_ACCEPT = re.compile(rb"(?<=Sec-WebSocket-Accept: )[^\r]+")
_ANY_BROWSER = re.compile(rb"(?<=User-Agent: )[^\r]+")
# In the same place our client says who it is, and offers no compression.
_OFFER = re.compile(rb"(?:Sec-WebSocket-Extensions: permessage-deflate|Cookie: session=)[^\r]+")
_PADDING = re.compile(rb"Set-Cookie: [^\r]+\r\n(?=\r\n$)")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Scene(Protocol):
    """The rest of the cast: who opens connections, users, the end of the server."""

    async def open(self) -> Peer:
        """Return the next connection between the two ends."""

    async def user(self, action: str) -> None:
        """Do what the user did."""

    async def note(self, note: str) -> None:
        """Do what the director did."""


class Player:
    """Plays one transcript; ``we`` is the direction in which our end speaks."""

    def __init__(self, scene: Scene, we: str, dialect: Dialect, rewrite: Callable[[bytes], bytes]) -> None:
        self._scene = scene
        self._we = we
        self._dialect = dialect
        self._rewrite = rewrite
        self._cast: dict[int, Peer] = {}  # by the number in the transcript
        self._unassigned: list[Peer] = []  # open, but nothing has been said on them
        self._idle: set[int] = set()  # upgraded tunnel connections that carry nothing: all are equal
        self._heard: dict[Peer, bytearray] = {}
        self._keys: dict[Peer, bytes] = {}  # of the upgrades that our client asked for

    async def play(self, events: list[Event]) -> None:
        """Play it to the end; AssertionError where our end says something else."""
        for event in self._causes_first(events):
            if "user" in event:
                await self._scene.user(event["user"])
            elif "note" in event:
                await self._scene.note(event["note"])
            elif event["dir"] == "open":
                await self._open()
            elif event["dir"] == self._we:
                await self._expect(event)
            else:
                await self._say(event)

    def _causes_first(self, events: list[Event]) -> list[Event]:
        """The recorder noted some users only after what the server had said of them."""
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
        self._heard[peer] = bytearray()
        self._unassigned.append(peer)

    async def _say(self, event: Event) -> None:
        peer = self._cast.get(event["conn"]) or self._assign(event["conn"], self._unassigned[0])
        if event.get("eof"):
            peer.shut_write()
        elif "http" in event:
            await peer.send(self._upgrade(peer, event))
        else:
            await peer.send(self._rewrite(bytes.fromhex(event["hex"])))
        self._note_use(event)

    def _upgrade(self, peer: Peer, event: Event) -> bytes:
        """Return the recorded request; or the recorded answer, made to fit our client's request."""
        head = _head(event)
        return _ACCEPT.sub(_accept(self._keys[peer]), head) if peer in self._keys else head

    def _note_use(self, event: Event) -> None:
        """A tunnel connection is idle between its upgrade and its first payload."""
        if "http" in event and event["conn"]:
            self._idle.add(event["conn"])
        elif not event.get("eof") and self._is_payload(event):
            self._idle.discard(event["conn"])

    async def _expect(self, event: Event) -> None:
        number = event["conn"]
        if number in self._idle and self._is_payload(event):
            await self._exchange(number)
        peer = self._cast.get(number) or self._assign(number, await self._first_to_speak(self._unassigned))
        if event.get("eof"):
            await self._expect_end(number, peer)
        elif "http" in event:
            await self._expect_upgrade(peer, event)
        else:
            await self._expect_bytes(peer, self._rewrite(bytes.fromhex(event["hex"])), self._between(number))
        self._note_use(event)

    async def _exchange(self, number: int) -> None:
        """Give ``number`` to that of the idle connections on which our end speaks."""
        speaker = await self._first_to_speak([self._cast[idle] for idle in self._idle])
        (other,) = (idle for idle in self._idle if self._cast[idle] is speaker)
        self._cast[number], self._cast[other] = speaker, self._cast[number]

    def _between(self, number: int) -> bytes:
        """Return what our end may say on a connection at any time."""
        if number == 0:
            return self._dialect.heartbeat
        return self._dialect.ping if self._we == "server->client" else self._dialect.greeting

    def _assign(self, number: int, peer: Peer) -> Peer:
        self._unassigned.remove(peer)
        self._cast[number] = peer
        return peer

    async def _first_to_speak(self, peers: list[Peer]) -> Peer:
        async with asyncio.timeout(PATIENCE):
            while True:
                for peer in peers:
                    if await self._has_spoken(peer):
                        return peer
                await ready(peer.sock for peer in peers)

    async def _has_spoken(self, peer: Peer) -> bool:
        """Whether our end has said more than that the connection is alive, or has ended it."""
        if not peer.silent():
            chunk = await peer.receive_some()
            self._heard[peer] += chunk
            _drop(self._heard[peer], self._dialect.ping)
            return not chunk or bool(self._heard[peer])
        return bool(self._heard[peer])

    async def _expect_bytes(self, peer: Peer, expected: bytes, between: bytes) -> None:
        heard = self._heard[peer]
        ignored = b"" if expected.startswith(between) else between
        _drop(heard, ignored)
        while len(heard) < len(expected):
            chunk = await peer.receive_some()
            assert chunk, f"ended with {heard.hex()} where {expected.hex()} was due"
            heard += chunk
            _drop(heard, ignored)
        assert heard[: len(expected)].hex() == expected.hex()
        del heard[: len(expected)]

    async def _expect_upgrade(self, peer: Peer, event: Event) -> None:
        head = await self._hear_head(peer)
        if self._we == "client->server":
            assert _without_chance(head) == _without_chance(self._rewrite(_head(event)))
            self._keys[peer] = _find(_KEY, head)
        elif event["conn"] and self._dialect.padded:
            assert _PADDING.sub(b"", head) == _head(event)
            assert len(head) - len(_head(event)) + len(b"\r\n") == BUFFER  # the line, and the blank one
        else:
            assert head == _head(event)

    async def _hear_head(self, peer: Peer) -> bytes:
        heard = self._heard[peer]
        while _END_OF_HEAD not in heard:
            chunk = await peer.receive_some()
            assert chunk, f"ended with {bytes(heard)!r} within an upgrade"
            heard += chunk
        end = heard.index(_END_OF_HEAD) + len(_END_OF_HEAD)
        head = bytes(heard[:end])
        del heard[:end]
        return head

    async def _expect_end(self, number: int, peer: Peer) -> None:
        rest = self._heard[peer] + await peer.receive_all()
        if number or self._we == "server->client":
            _drop(rest, self._between(number))
        assert rest.hex() == (b"" if number else self._last_words()).hex()

    def _last_words(self) -> bytes:
        return self._dialect.farewell if self._we == "server->client" else self._dialect.extension


def _drop(heard: bytearray, between: bytes) -> None:
    while between and heard.startswith(between):
        del heard[: len(between)]


def _head(event: Event) -> bytes:
    return "\r\n".join([event["http"], *event["headers"], "", ""]).encode()


def _accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def _without_chance(request: bytes) -> bytes:
    """Return the request with a name for all that differs from one to the next; the path has the user's id, too."""
    for part in (_KEY, _USER_ID):
        request = request.replace(_find(part, request), b"<random>")
    return _OFFER.sub(b"<offer>", _ANY_BROWSER.sub(b"<browser>", request))


def _find(part: re.Pattern[bytes], head: bytes) -> bytes:
    found = part.search(head)
    assert found, f"{head!r} has no {part.pattern!r}"
    return found[1]
