"""Connections that are dialled ahead of need, with a door that the test answers for."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.net import until

from backhaul.transports.carriers.ahead import MOST, Ahead
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.wire.peer import Peer

if TYPE_CHECKING:
    from backhaul.transports.client_end import Opened

LONG = 3600.0


class Stand:
    """The connections that are wanted; ``dials`` are those that the door is to open."""

    def __init__(self, kept: float = LONG) -> None:
        self.dials: list[Opened] = []
        self.dropped: list[socket.socket] = []
        self.pairs: list[socket.socket] = []
        self.ahead = Ahead(self.dials.append, self.dropped.append, kept)

    def open(self) -> socket.socket:
        """Answer the first dial with a connection, whose server's end is the last one of ``pairs``."""
        seals: Any = None
        connection = SealedConnection(self._pair(), Peer(), seals=seals)
        self.dials.pop(0)(connection)
        return connection.sock

    def fail(self, result: Connection | Exception) -> None:
        """Answer the first dial with something else."""
        self.dials.pop(0)(result)

    def bare(self) -> Connection:
        """Return a connection without seals, as one to v0.7.2."""
        return Connection(self._pair(), Peer())

    def taken(self) -> socket.socket | None:
        """Take a connection."""
        connection = self.ahead.take()
        return connection.sock if connection else None

    def _pair(self) -> socket.socket:
        near, far = socket.socketpair()
        near.setblocking(False)
        self.pairs += near, far
        return near


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    stand = Stand()
    yield stand
    stand.ahead.clear()
    for sock in stand.pairs:
        sock.close()


async def test_a_need_that_is_not_met_asks_for_one_more(stand: Stand) -> None:
    assert stand.taken() is None
    assert len(stand.dials) == 1
    first = stand.open()
    assert stand.taken() is first
    assert len(stand.dials) == 1  # in place of the one that was taken
    assert stand.taken() is None
    assert len(stand.dials) == 2


async def test_the_number_is_bounded(stand: Stand) -> None:
    for _ in range(2 * MOST):
        assert stand.taken() is None
    assert len(stand.dials) == MOST


async def test_the_last_one_is_taken_first(stand: Stand) -> None:
    stand.taken()
    stand.taken()
    one, other = stand.open(), stand.open()
    assert [stand.taken(), stand.taken()] == [other, one]


async def test_one_that_the_server_has_closed_is_not_taken(stand: Stand) -> None:
    stand.taken()
    sock = stand.open()
    stand.pairs[-1].close()
    assert stand.taken() is None
    assert stand.dropped == [sock]
    assert len(stand.dials) == 2


async def test_one_that_nobody_needs_is_closed_and_not_replaced(stand: Stand) -> None:
    stand.ahead = Ahead(stand.dials.append, stand.dropped.append, 0.01)
    stand.taken()
    stand.taken()
    unneeded = {stand.open(), stand.open()}
    await until(lambda: set(stand.dropped) == unneeded)
    assert not stand.dials
    assert stand.taken() is None
    assert len(stand.dials) == 1


async def test_a_failure_begins_anew_with_one(stand: Stand) -> None:
    for _ in range(4):
        stand.taken()
    for _ in range(4):
        stand.fail(OSError("refused"))
    assert not stand.dials
    stand.taken()
    assert len(stand.dials) == 1


async def test_a_connection_without_seals_can_resume_nothing(stand: Stand) -> None:
    stand.taken()
    bare = stand.bare()
    stand.fail(bare)
    assert stand.dropped == [bare.sock]
    assert stand.taken() is None


async def test_without_a_control_channel_all_are_closed_and_late_ones_too(stand: Stand) -> None:
    stand.taken()
    stand.taken()
    ready = stand.open()
    stand.ahead.clear()
    assert stand.dropped == [ready]
    late = stand.open()
    assert stand.dropped == [ready, late]
    assert stand.taken() is None
    assert len(stand.dials) == 1


async def test_one_that_was_taken_is_not_closed_later(stand: Stand) -> None:
    stand.ahead = Ahead(stand.dials.append, stand.dropped.append, 0.01)
    stand.taken()
    taken = stand.open()
    assert stand.taken() is taken
    unneeded = stand.open()
    await until(lambda: stand.dropped)
    await asyncio.sleep(0)
    assert stand.dropped == [unneeded]
