"""The users in flight of the public end: of streams, waiting for a carrier, and of datagrams."""

import asyncio
import functools
from collections.abc import Callable, Iterator

from backhaul.relay.engine import Relay
from backhaul.relay.flows import FlowTable
from backhaul.relay.outcome import Progress
from backhaul.transports.user import User

from .outcomes import ServedUser
from .roll import Roll, Row, joined
from .udp_ports import UdpUser
from .waiting_users import WaitingUsers


def server_roll(relay: Relay, waiting: WaitingUsers, reset: Callable[[User], None]) -> Roll:
    """Return the roll; ``reset`` closes a user who waits."""
    return Roll(
        functools.partial(_waiting, waiting, reset),
        functools.partial(joined, relay),
        functools.partial(_flows, relay.flows),
    )


def _waiting(waiting: WaitingUsers, reset: Callable[[User], None]) -> Iterator[Row]:
    loop = asyncio.get_running_loop()
    for user in waiting:
        if isinstance(user.done, ServedUser):
            progress = Progress(len(user.early), 0, "waiting", "")
            yield Row(user.done.state(progress, loop.time()), functools.partial(reset, user))


def _flows(flows: FlowTable) -> Iterator[Row]:
    loop = asyncio.get_running_loop()
    for flow in list(flows):
        if not flow.closed and isinstance(flow.near, UdpUser):
            yield Row(flow.near.state(flow, loop.time()), flow.close)
