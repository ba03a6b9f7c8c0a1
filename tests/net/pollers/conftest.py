"""Pollers, and sockets for them to watch."""

import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from backhaul.net.poller import Poller
from backhaul.net.pollers import EpollPoller, LoopPoller


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Provide two connected sockets."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


@pytest.fixture(params=[EpollPoller, LoopPoller])
async def poller(request: pytest.FixtureRequest, pair: tuple[socket.socket, socket.socket]) -> AsyncIterator[Poller]:
    """Provide each kind of poller."""
    del pair  # closed after the poller
    poller: Poller = request.param()
    yield poller
    poller.close()
