"""A control channel that the client can't open after the handshake."""

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

import pytest
from tests.support.doors import DoorOwner, door_settings
from tests.support.tunnel import Net
from tests.support.v072 import HANDSHAKE
from tests.support.web import receive_head, switching

from backhaul.net.poller import Callback, Owner
from backhaul.net.pollers import EpollPoller
from backhaul.net.resolver import Resolver, look_up
from backhaul.relay.engine import Relay
from backhaul.transports.control.channel import ControlChannel
from backhaul.transports.doors.http import HttpDoor
from backhaul.transports.doors.raw import RawDoor

if TYPE_CHECKING:
    from backhaul.transports.client_end import Door


class Full(EpollPoller):
    """A poller without room for another control channel (epoll_ctl(2): ENOSPC)."""

    def own(self, sock: socket.socket, readable: Callback, owner: Owner) -> None:
        """Fail as a full epoll does."""
        if isinstance(getattr(readable, "__self__", None), ControlChannel):
            raise OSError(errno.ENOSPC, "no room")
        super().own(sock, readable, owner)


@pytest.mark.parametrize("kind", [RawDoor, HttpDoor])
async def test_a_control_channel_that_cannot_be_watched_is_closed(net: Net, kind: type[RawDoor | HttpDoor]) -> None:
    listener, resolver = net.listen(), Resolver(lookup=look_up)
    relay = Relay(Full())
    settings = door_settings(listener.port)
    poller = relay.poller
    door: Door = RawDoor(poller, settings, resolver, "tcp")
    if kind is HttpDoor:
        door = HttpDoor(poller, relay.pings, settings, resolver, "ws")
    door.start(DoorOwner())
    connecting = asyncio.ensure_future(door.connect())
    server = await listener.accept()
    if kind is RawDoor:
        await server.send(await server.receive(len(HANDSHAKE)))
    else:
        await server.send(switching(await receive_head(server)))
    with pytest.raises(OSError, match="no room"):
        await connecting
    assert await server.closed()
    relay.close()
    relay.poller.close()
    resolver.close()
