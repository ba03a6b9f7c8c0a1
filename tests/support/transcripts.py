"""Plays what a real v0.7.2 server and client said to each other, in the place of one of them.

What the test sends is byte for byte what v0.7.2 sent; what our end sends has to be what v0.7.2 sent in its place,
in this order on each connection. What the protocol leaves open is settled here: which of several equal tunnel
connections carries a user, where heartbeats fall, and the ports of this run.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .net import PATIENCE, Peer

Event = dict[str, Any]
TRANSCRIPTS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data/transcripts.json").read_text())


@dataclass(frozen=True)
class Dialect:
    """What has to be known of a transport to play its transcript."""

    heartbeat: bytes = b"\x00"  # on the control channel; how many fall between two events is left to the clock
    extension: bytes = b""  # what our client says on the control channel beyond v0.7.2, documented to be ignored


class Scene(Protocol):
    """The rest of the cast: who opens connections, users, the end of the server."""

    async def open(self) -> Peer:
        """Return the next connection between the two ends."""

    async def user(self, action: str) -> None:
        """Do what the user did."""

    async def note(self, note: str) -> None:
        """Do what the director did."""


class Player:
    """Plays one transcript; `we` is the direction in which our end speaks."""

    def __init__(self, scene: Scene, we: str, dialect: Dialect, rewrite: Callable[[bytes], bytes]) -> None:
        self._scene = scene
        self._we = we
        self._dialect = dialect
        self._rewrite = rewrite
        self._cast: dict[int, Peer] = {}  # by the number in the transcript
        self._unassigned: list[Peer] = []  # open, but nothing has been said on them
        self._heard: dict[Peer, bytearray] = {}

    async def play(self, events: list[Event]) -> None:
        """Play it to the end; AssertionError where our end says something else."""
        for event in events:
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

    async def _open(self) -> None:
        peer = await self._scene.open()
        self._heard[peer] = bytearray()
        self._unassigned.append(peer)

    async def _say(self, event: Event) -> None:
        peer = self._cast.get(event["conn"]) or self._assign(event["conn"], self._unassigned[0])
        if event.get("eof"):
            peer.shut_write()
        else:
            await peer.send(self._rewrite(bytes.fromhex(event["hex"])))

    async def _expect(self, event: Event) -> None:
        peer = self._cast.get(event["conn"]) or self._assign(event["conn"], await self._first_to_speak())
        if event.get("eof"):
            await self._expect_end(event["conn"], peer)
        else:
            await self._expect_bytes(peer, self._rewrite(bytes.fromhex(event["hex"])), control=event["conn"] == 0)

    def _assign(self, number: int, peer: Peer) -> Peer:
        self._unassigned.remove(peer)
        self._cast[number] = peer
        return peer

    async def _first_to_speak(self) -> Peer:
        async with asyncio.timeout(PATIENCE):
            while True:
                for peer in self._unassigned:
                    if not peer.silent():
                        return peer
                await asyncio.sleep(0.002)

    async def _expect_bytes(self, peer: Peer, expected: bytes, *, control: bool) -> None:
        heard = self._heard[peer]
        beat = self._dialect.heartbeat
        while len(heard) < len(expected):
            chunk = await peer.receive_some()
            assert chunk, f"ended with {heard.hex()} where {expected.hex()} was due"
            heard += chunk
            while control and not expected.startswith(beat) and heard.startswith(beat):
                del heard[: len(beat)]
        assert heard[: len(expected)].hex() == expected.hex()
        del heard[: len(expected)]

    async def _expect_end(self, number: int, peer: Peer) -> None:
        rest = bytes(self._heard[peer]) + await peer.receive_all()
        if number == 0 and self._we == "server->client":
            rest = rest.replace(self._dialect.heartbeat, b"")
        allowed = self._dialect.extension if number == 0 and self._we == "client->server" else b""
        assert rest.hex() == allowed.hex()
