"""Looks at all users of the public end now and then, which cost nothing when bytes move."""

import asyncio
from collections.abc import Iterator
from typing import Final

from backhaul.relay.connections import InFlight
from backhaul.relay.flows import Flow, FlowTable

from .outcomes import ServedUser
from .udp_ports import UdpUser

_SLICE: Final = 200  # users looked at without a pause: less than a millisecond


def streams(live: set[InFlight]) -> Iterator[tuple[InFlight, ServedUser]]:
    """Return the users whose streams move; they come and go while this is read."""
    for user in list(live):
        if user in live and isinstance(user.done, ServedUser):
            yield user, user.done


def flows(table: FlowTable) -> Iterator[tuple[Flow, UdpUser]]:
    """Return the users of datagrams."""
    for flow in list(table):
        if not flow.closed and isinstance(flow.near, UdpUser):
            yield flow, flow.near


async def in_slices(looks: Iterator[None]) -> None:
    """Look at all users, with turns of the event loop in between."""
    for number, _ in enumerate(looks, 1):
        if not number % _SLICE:
            await asyncio.sleep(0)
