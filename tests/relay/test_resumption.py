"""The memory of sessions that outlive their connections, and the sessions of a transport that stops."""

import pytest

from backhaul.relay.resumption import Resumption
from backhaul.wire.peer import Peer

MEMORY = 64 << 20
FIRST, LARGEST, LEAST = 4 << 20, 16 << 20, 64 << 10
CONTROL, LEAST_CONTROL = 4 << 20, 256 << 10
STEP, SMALL_STEP = 256 << 10, 16 << 10


class Session:
    parked = private = False

    def __init__(self, resumption: Resumption, owner: object) -> None:
        self.peer = Peer()
        self.owner, self.kept = owner, True
        self._links, self._key = resumption.links, ("client", len(resumption.links).to_bytes(16))
        self._links[self._key] = self

    def keep_no_longer(self) -> None:
        self.end("an end has stopped")

    def on_bye(self) -> None:
        self.end("the peer has ended it")

    def end(self, why: str) -> None:
        del why, self._links[self._key]
        self.kept = False


@pytest.fixture
def resumption() -> Resumption:
    resumption = Resumption()
    resumption.apply(60, MEMORY)
    return resumption


@pytest.mark.parametrize("before", [FIRST, LARGEST // 2, LARGEST])
def test_a_session_gets_twice_as_much_while_half_of_the_memory_is_free(resumption: Resumption, before: int) -> None:
    resumption.held = MEMORY // 2 - 1
    assert resumption.most(before) == min(2 * before, LARGEST)
    resumption.held += 1
    assert resumption.most(before) == before


@pytest.mark.parametrize(("sessions", "share"), [(1, FIRST), (32, MEMORY // 32), (2000, LEAST)])
def test_sessions_share_memory_that_is_short(resumption: Resumption, sessions: int, share: int) -> None:
    for _ in range(sessions):
        Session(resumption, "transport")
    assert resumption.share == FIRST
    resumption.held = MEMORY
    assert resumption.share == resumption.most(LARGEST) == share


def test_few_control_frames_are_kept_when_memory_is_short(resumption: Resumption) -> None:
    resumption.held = MEMORY - 1
    assert resumption.most_control == CONTROL
    resumption.held = MEMORY
    assert resumption.most_control == LEAST_CONTROL


@pytest.mark.parametrize(("sessions", "step"), [(0, STEP), (8, STEP), (512, MEMORY // 1024), (5000, SMALL_STEP)])
def test_sessions_together_send_half_of_the_memory_before_they_look_at_it(
    resumption: Resumption, sessions: int, step: int
) -> None:
    """In a container of 64 MB, 190 sessions kept twice what they may, and the kernel killed the program."""
    for _ in range(sessions):
        Session(resumption, "transport")
    assert resumption.step == step
    resumption.held = MEMORY // 2
    assert resumption.step == SMALL_STEP


def test_few_sessions_without_streams_wait(resumption: Resumption) -> None:
    resumption.parked = 255
    assert resumption.keeps_finished
    resumption.parked += 1
    assert not resumption.keeps_finished


def test_a_transport_that_stops_leaves_its_own_sessions(resumption: Resumption) -> None:
    sessions = [Session(resumption, owner) for owner in ("one", "another", "one")]
    resumption.leave("one")
    assert [session.kept for session in sessions] == [False, True, False]
    assert list(resumption.links.values()) == [sessions[1]]


def test_a_peer_that_stops_leaves_the_sessions_of_all_its_transports(resumption: Resumption) -> None:
    ours, theirs = Session(resumption, "one"), Session(resumption, "one")
    theirs.peer = Peer(name="another")
    resumption.leave_peer("another")
    assert (ours.kept, theirs.kept) == (True, False)


ANOTHER = Peer(name="another")
PRIVATE, PARKED = {"private": True}, {"parked": True}


@pytest.mark.parametrize(
    ("state", "peer", "kept"), [(PRIVATE, Peer(), False), (PRIVATE, ANOTHER, True), ({}, Peer(), True)]
)
def test_sessions_that_no_one_may_read_end_before_those_in_clear(
    resumption: Resumption, state: dict[str, bool], peer: Peer, *, kept: bool
) -> None:
    session = Session(resumption, "one")
    session.peer = peer
    vars(session).update(state)
    resumption.leave_private(Peer().name)
    assert session.kept is kept


@pytest.mark.parametrize(
    ("state", "peer", "kept"),
    [
        (PARKED, Peer(instance=b"former"), False),
        (PARKED, Peer(instance=b"present"), True),
        (PARKED, Peer(name=ANOTHER.name, instance=b"former"), True),
        ({}, Peer(instance=b"former"), True),
    ],
)
def test_sessions_end_with_an_earlier_process_of_their_client(
    resumption: Resumption, state: dict[str, bool], peer: Peer, *, kept: bool
) -> None:
    session = Session(resumption, "one")
    session.peer = peer
    vars(session).update(state)
    resumption.end_others(Peer().name, b"present")
    assert session.kept is kept


class Way:
    def __init__(self, server_address: str = "") -> None:
        self.server_address = server_address
        self.told: list[bytes] = []
        self.taken: list[Session] = []

    def take_over(self, link: Session) -> None:
        self.taken.append(link)

    def tell_ended(self, identity: bytes) -> None:
        self.told.append(identity)


def test_a_server_that_is_connected_learns_of_the_end_of_its_sessions(resumption: Resumption) -> None:
    here, there = Way(), Way()
    resumption.enter(b"here", here)
    resumption.enter(b"there", there)
    resumption.ended(b"here", b"a session")
    resumption.ended(b"nowhere", b"another one")
    assert (here.told, there.told) == ([b"a session"], [])


def test_a_transport_takes_over_the_sessions_with_its_server_and_tells_it_of_those_that_have_ended(
    resumption: Resumption,
) -> None:
    former, way = Way("server:443"), Way("another:443")
    here = Session(resumption, former)
    here.peer = Peer(instance=b"here")
    Session(resumption, former).peer = Peer(instance=b"there")
    resumption.ended(b"here", b"a session")
    resumption.ended(b"there", b"another one")
    resumption.enter(b"here", way)
    assert (way.taken, way.told) == ([here], [b"a session"])


def test_a_transport_takes_over_the_sessions_with_an_earlier_process_of_its_server(resumption: Resumption) -> None:
    session, way = Session(resumption, Way("server:443")), Way("server:443")
    Session(resumption, Way("another:443"))
    assert resumption.way_to(session) is None
    resumption.enter(b"process", way)
    assert way.taken == [session]
    assert resumption.way_to(session) is way
    session.peer = Peer(instance=b"here")
    resumption.enter(b"here", here := Way("another:443"))
    assert resumption.way_to(session) is here


@pytest.mark.parametrize("sole", [True, False])
@pytest.mark.parametrize("parked", [True, False])
def test_a_session_ends_that_the_only_server_can_not_have(resumption: Resumption, *, sole: bool, parked: bool) -> None:
    resumption.sole = sole
    session = Session(resumption, Way("former:443"))
    session.parked = parked
    resumption.left(session)
    assert session.kept
    resumption.enter(b"process", Way("server:443"))
    assert session.kept is not (sole and parked)


@pytest.mark.parametrize("sole", [True, False])
def test_a_session_ends_that_the_only_server_does_not_have_and_refuses(resumption: Resumption, *, sole: bool) -> None:
    resumption.sole = sole
    session = Session(resumption, Way("former:443"))
    session.parked = True
    resumption.refused_by(b"process", "server:443")
    assert session.kept is not sole


@pytest.mark.parametrize(
    ("parked", "instance", "address", "kept"),
    [
        (True, b"former", "server:443", False),
        (True, b"former", "another:443", True),
        (False, b"former", "server:443", True),
        (True, b"process", "server:443", True),
        (True, b"beside it", "server:443", True),
    ],
)
def test_a_session_ends_that_a_process_in_the_place_of_its_own_refuses(
    resumption: Resumption, instance: bytes, address: str, *, parked: bool, kept: bool
) -> None:
    resumption.enter(b"beside it", Way("beside:443"))
    session = Session(resumption, Way(address))
    session.peer, session.parked = Peer(instance=instance), parked
    resumption.refused_by(b"process", "server:443")
    assert session.kept is kept


def test_a_session_stays_whose_server_is_connected_at_another_address(resumption: Resumption) -> None:
    resumption.sole = True
    session = Session(resumption, Way("former:443"))
    session.peer, session.parked = Peer(instance=b"process"), True
    resumption.enter(b"process", Way("server:443"))
    resumption.left(session)
    assert session.kept


def test_a_transport_that_is_no_longer_connected_tells_nothing(resumption: Resumption) -> None:
    former, present = Way(), Way()
    resumption.enter(b"here", former)
    resumption.enter(b"there", present)
    resumption.exit(former)
    resumption.ended(b"here", b"a session")
    resumption.ended(b"there", b"another one")
    assert (former.told, present.told) == ([], [b"another one"])


def test_a_server_may_be_told_again_of_the_last_sessions(resumption: Resumption) -> None:
    resumption.ended(b"elsewhere", b"not this one")
    for number in range(257):
        resumption.ended(b"here", b"%d" % number)
    assert resumption.ended_at(b"here") == [b"%d" % number for number in range(1, 257)]
    assert not resumption.ended_at(b"elsewhere")
