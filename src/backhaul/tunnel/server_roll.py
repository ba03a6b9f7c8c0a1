"""The users in flight of the public end: of streams, waiting for a carrier, and of datagrams."""

import asyncio
import functools
from collections.abc import Iterator, Mapping
from typing import Protocol

from backhaul.relay.connections import InFlight
from backhaul.relay.flows import FlowTable
from backhaul.relay.outcome import Progress

from .outcomes import ServedUser
from .roll import Roll, Row, joined
from .udp_ports import UdpUser
from .user_dispatcher import UserDispatcher


class Desk(Protocol):
    """A tunnel, whose users may wait for a carrier."""

    @property
    def users(self) -> UserDispatcher:
        """The dispatcher of its streams."""


def server_roll(live: set[InFlight], flows: FlowTable, tunnels: Mapping[str, Desk]) -> Roll:
    """Return the roll of all tunnels, also of those that come later."""
    return Roll(
        functools.partial(_waiting, tunnels),
        functools.partial(joined, live),
        functools.partial(_flows, flows),
    )


def _waiting(tunnels: Mapping[str, Desk]) -> Iterator[Row]:
    loop = asyncio.get_running_loop()
    for tunnel in list(tunnels.values()):
        for user in tunnel.users.waiting:
            if isinstance(user.done, ServedUser):
                progress = Progress(len(user.early), 0, "waiting", "")
                yield Row(user.done.state(progress, loop.time()), functools.partial(tunnel.users.reset, user))


def _flows(flows: FlowTable) -> Iterator[Row]:
    loop = asyncio.get_running_loop()
    for flow in list(flows):
        if not flow.closed and isinstance(flow.near, UdpUser):
            yield Row(flow.near.state(flow, loop.time()), flow.close)
