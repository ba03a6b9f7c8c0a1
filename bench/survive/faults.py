"""The faults of the line, in turn."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

from bench.survive.network import CLIENT, SERVER, Network

SILENCE = 10.0  # seconds

Fault = Callable[[Network], None]

FAULTS: Mapping[str, Fault] = {
    "reset by the client's kernel": lambda network: network.reset_at(CLIENT),
    "reset by the server's kernel": lambda network: network.reset_at(SERVER),
    "resets from the router for 0.5 s": Network.reject,
    "10 s of silence": lambda network: network.silence(SILENCE),
    "another address of the client": Network.move_client,
    "the router forgets connections": Network.forget_connections,
}
RELOAD = "nginx is reloaded"  # if the tunnel travels by HTTP


class Happening(NamedTuple):
    """A fault, in the time of ``time.monotonic``."""

    kind: str
    begin: float
    end: float


def afflict(network: Network, faults: Mapping[str, Fault], pause: float, until: float) -> Iterator[Happening]:
    """Let one fault after the other happen, with a pause after each; at least one, and none after ``until``."""
    for kind in cycle(faults):
        begin = time.monotonic()
        faults[kind](network)
        yield Happening(kind, begin, time.monotonic())
        time.sleep(pause)
        if time.monotonic() > until:
            return


def chosen(words: Sequence[str], variant: str) -> list[str]:
    """Return the names of the faults that a variant can have and that contain one of the words; all without words."""
    possible = [*FAULTS, RELOAD] if variant.startswith("ws") else FAULTS
    return [kind for kind in possible if not words or any(word in kind for word in words)]
