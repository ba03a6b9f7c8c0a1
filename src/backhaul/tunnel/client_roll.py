"""The users in flight of the client: of streams, of datagrams, and those whose targets are being dialled."""

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator

from backhaul.relay.connections import InFlight
from backhaul.relay.flows import FlowTable
from backhaul.state import UserState

from .client import ClientTunnel
from .roll import Roll, Row, joined


def client_roll(
    live: set[InFlight],
    flows: FlowTable,
    tunnels: Callable[[], Iterable[ClientTunnel]],
    transport: Callable[[], str],
) -> Roll:
    """Return the roll; ``tunnels`` returns those that dial targets, ``transport`` the one of UDP flows."""
    return Roll(
        functools.partial(_dialling, tunnels),
        functools.partial(joined, live),
        functools.partial(_flows, flows, transport),
    )


def _dialling(tunnels: Callable[[], Iterable[ClientTunnel]]) -> Iterator[Row]:
    for tunnel in tunnels():
        yield from tunnel.dialled_for()


def _flows(flows: FlowTable, transport: Callable[[], str]) -> Iterator[Row]:
    loop = asyncio.get_running_loop()
    for flow in list(flows):
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
