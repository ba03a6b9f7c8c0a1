"""The users in flight of the client: of streams, of datagrams, and those whose targets are being dialled."""

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator

from backhaul.relay.engine import Relay
from backhaul.state import UserState

from .client import ClientTunnel
from .roll import Roll, Row, joined


def client_roll(relay: Relay, tunnels: Callable[[], Iterable[ClientTunnel]], transport: Callable[[], str]) -> Roll:
    """Return the roll; ``tunnels`` returns those that dial targets, ``transport`` the one of UDP flows."""
    return Roll(
        functools.partial(_dialling, tunnels),
        functools.partial(joined, relay),
        functools.partial(_flows, relay, transport),
    )


def _dialling(tunnels: Callable[[], Iterable[ClientTunnel]]) -> Iterator[Row]:
    for tunnel in tunnels():
        yield from tunnel.dialled_for()


def _flows(relay: Relay, transport: Callable[[], str]) -> Iterator[Row]:
    loop = asyncio.get_running_loop()
    for flow in list(relay.flows):
        if not flow.closed:
            progress = flow.progress()
            state = UserState(
                number=flow.number,
                datagrams=True,
                age=loop.time() - flow.since,
                target=flow.target,
                transport=transport(),
                stream=progress.stream,
                phase=progress.phase,
                received=progress.received,
                sent=progress.sent,
            )
            yield Row(state, flow.close)
