"""Connections that have proved nothing yet: how many may wait, and which one makes room."""

import socket
from collections.abc import AsyncIterator

import pytest
from tests.support.net import until

from backhaul.net.descriptors import Descriptors
from backhaul.net.poller import Poller
from backhaul.net.pollers import make_poller
from backhaul.relay.reclaimer import Tide
from backhaul.transports.gates.lobby import Lobby, PendingConnection
from backhaul.transports.gates.reputation import Reputation
from backhaul.transports.settings import GateLimits


class Hall:
    """A lobby, and connections in it."""

    def __init__(self, poller: Poller, limit: int, share: int) -> None:
        self.poller = poller
        self.reputation = Reputation(GateLimits())
        self.heard: list[bytes] = []
        self.left: list[str] = []
        self.ebbs: list[str] = []
        """The connections that waited when most of a crowd were gone."""
        self.lobby = Lobby(
            poller,
            self.reputation,
            self.hear,
            limit=limit,
            share=share,
            seconds=60.0,
            tide=Tide(3, lambda: self.ebbs.append(self.waiting)),
            left=lambda p: self.left.append(p.ip),
        )
        self.names: dict[PendingConnection, str] = {}
        self._ends: list[socket.socket] = []

    def hear(self, pending: PendingConnection, data: bytes) -> None:
        self.heard.append(data)
        if data == b"proof":
            self.lobby.take(pending)
            self._ends.append(pending.sock)

    def come(self, *names: str) -> None:
        """Open connections; the first letter of a name stands for the address."""
        for name in names:
            pending, _ = self.connect(name)
            self.lobby.admit(pending)

    def connect(self, name: str) -> tuple[PendingConnection, socket.socket]:
        near, far = socket.socketpair()
        near.setblocking(False)
        pending = PendingConnection(near, name[0])
        self.names[pending] = name
        self._ends.append(far)
        return pending, far

    @property
    def waiting(self) -> str:
        return " ".join(name for pending, name in self.names.items() if pending in self.lobby)

    def close(self) -> None:
        self.lobby.close()
        for end in self._ends:
            end.close()


@pytest.fixture
async def hall(request: pytest.FixtureRequest) -> AsyncIterator[Hall]:
    poller = make_poller()
    hall = Hall(poller, *request.param)
    yield hall
    hall.close()
    poller.close()
    assert all(pending.sock.fileno() < 0 for pending in hall.names)


def size(limit: int, share: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("hall", [(limit, share)], indirect=True)


@size(5, 5)
async def test_the_oldest_of_the_address_with_most_makes_room(hall: Hall) -> None:
    hall.come("b1", "a1", "a2", "a3", "c1", "d1")
    assert hall.waiting == "b1 a2 a3 c1 d1"
    hall.come("b2")
    assert hall.waiting == "b1 a3 c1 d1 b2"


@size(8, 2)
async def test_an_address_has_only_its_share_even_if_there_is_room(hall: Hall) -> None:
    hall.come("a1", "a2", "b1", "a3")
    assert hall.waiting == "a2 b1 a3"


@size(6, 2)
async def test_a_trusted_address_may_take_all_free_places_and_half_in_any_case(hall: Hall) -> None:
    hall.reputation.proved("t")
    hall.come("t1", "t2", "t3", "t4", "t5", "t6")
    assert hall.waiting == "t1 t2 t3 t4 t5 t6"
    hall.come("a1", "b1", "c1", "d1")
    assert hall.waiting == "t4 t5 t6 b1 c1 d1"
    hall.come("t7")
    assert hall.waiting == "t4 t5 t6 c1 d1 t7"


@size(1, 1)
async def test_a_proof_that_has_arrived_is_read_before_its_connection_makes_room(hall: Hall) -> None:
    first, far = hall.connect("a1")
    hall.lobby.admit(first)
    hall.lobby.listen(first)
    far.send(b"proof")
    hall.come("a2")
    assert hall.heard == [b"proof"]
    assert first.sock.fileno() >= 0
    assert hall.waiting == "a2"
    first.sock.close()


@size(4, 4)
async def test_an_end_makes_a_connection_leave(hall: Hall) -> None:
    pending, far = hall.connect("a1")
    hall.lobby.admit(pending)
    hall.lobby.listen(pending)
    far.send(b"?")
    await until(lambda: hall.heard == [b"?"])
    far.close()
    await until(lambda: hall.left == ["a"])
    assert len(hall.lobby) == 0


@size(9, 9)
async def test_a_newcomer_takes_the_place_of_another_one_while_descriptors_are_scarce(hall: Hall) -> None:
    hall.come("a1", "a2", "b1")
    hall.poller.descriptors = Descriptors(lambda: 1)
    hall.come("c1")
    assert hall.waiting == "a2 b1 c1"


@pytest.mark.parametrize("hall", [(8, 8)], indirect=True)
async def test_the_end_of_a_crowd_is_noticed(hall: Hall) -> None:
    hall.come("a1", "a2", "b1", "b2", "c1")
    first, second, third, fourth, _ = list(hall.names)
    hall.lobby.take(first)
    for pending in (second, third):
        hall.lobby.dismiss(pending)
    assert not hall.ebbs
    hall.lobby.dismiss(fourth)
    assert not hall.ebbs
    hall.lobby.close()
    assert hall.ebbs == [""]
    first.sock.close()
