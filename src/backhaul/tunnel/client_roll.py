"""The users in flight of the client: of streams, of datagrams, and those whose targets are being dialled."""

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator

from backhaul.relay.connections import InFlight
from backhaul.relay.flows import FlowTable

from .arrivals import ArrivedFlow
from .client import ClientTunnel
from .roll import Roll, Row, joined


def client_roll(live: set[InFlight], flows: FlowTable, tunnels: Callable[[], Iterable[ClientTunnel]]) -> Roll:
    """Return the roll; ``tunnels`` returns those that dial targets."""
    return Roll(
        functools.partial(_dialling, tunnels),
        functools.partial(joined, live),
        functools.partial(_flows, flows),
    )


def _dialling(tunnels: Callable[[], Iterable[ClientTunnel]]) -> Iterator[Row]:
    for tunnel in tunnels():
        yield from tunnel.dialled_for()


def _flows(flows: FlowTable) -> Iterator[Row]:
    loop = asyncio.get_running_loop()
    for flow in list(flows):
        if not flow.closed and isinstance(flow.done, ArrivedFlow):
            yield Row(flow.done.state(flow.progress(), loop.time()), flow.close)
