"""Limits and counters of the sessions that outlive their connections, one for each end of a process."""

from collections import deque
from typing import Any, Final, Protocol

from backhaul.state import ResumptionState
from backhaul.wire.peer import Peer

from .frames import KeptFrames

DEFAULT_TIMEOUT: Final = 60.0
"""Seconds."""
DEFAULT_MEMORY: Final = 64 << 20
"""Bytes."""
_SHARE: Final = 4 << 20  # bytes that a session may keep
_LARGEST: Final = 16 << 20  # bytes for one whose line holds so many
_MOST_FINISHED: Final = 256  # sessions; those with streams are as many as users allow
_MOST_ENDED: Final = 256  # sessions
_LEAST: Final = 1 << 16  # bytes for each, however many there are
_CONTROL: Final = 1 << 22  # bytes of control frames
_LEAST_CONTROL: Final = 1 << 18  # more than a stream sends per wake-up
_STEP: Final = 1 << 18  # bytes that a session sends between two looks at its memory
_SMALL_STEP: Final = 1 << 14  # while memory is short


class Resumable(Protocol):
    """A session that outlives its connections."""

    owner: Any
    """The transport that decides about its streams."""

    @property
    def parked(self) -> bool:
        """True while it has no connection."""

    @property
    def peer(self) -> Peer:
        """The other end."""

    @property
    def private(self) -> bool:
        """True if an eavesdropper can't read its bytes."""

    def keep_no_longer(self) -> None:
        """End without a connection, and when it loses its own, because an end stops."""

    def on_bye(self) -> None:
        """End, and lose the streams, because the other end has."""

    def end(self, why: str) -> None:
        """End, and lose the streams."""


class Way(Protocol):
    """A transport of a client, connected to a server."""

    @property
    def server_address(self) -> str:
        """Host and port of the server, as the configuration has them."""

    def take_over(self, link: Any) -> None:  # noqa: ANN401 - a session, of a room above
        """Serve a session of another transport from now on, or end it if it has no connection and can get none."""

    def tell_ended(self, identity: bytes) -> None:
        """Tell the server that this end has ended a session."""


class Resumption:
    """Finds sessions by the name of the client and their identity, and divides memory among them."""

    def __init__(self) -> None:
        self.timeout = DEFAULT_TIMEOUT
        """Seconds for which a session waits for another connection."""
        self.memory = DEFAULT_MEMORY
        """Bytes that all sessions together may keep until they are acknowledged."""
        self.max_age = 0.0
        """Seconds after which the client replaces a connection; 0 means never."""
        self.max_bytes = 0
        """The same for bytes, in both directions together."""
        self.links: dict[tuple[str, bytes], Resumable] = {}
        """The sessions that can be resumed."""
        self.ways: dict[bytes, Way] = {}
        """The transports of a client that are connected, by the instance of the server."""
        self.sole = False
        """True if the client has a single server, with one address."""
        self._ended: deque[tuple[bytes, bytes]] = deque(maxlen=_MOST_ENDED)
        self.frames = KeptFrames()
        """The memory in which their frames are built, and kept until they are acknowledged."""
        self.parked = 0
        """The number of those without a connection."""
        self.held = 0
        """Bytes of memory that they take for that."""
        self.resumes = 0
        self.rotations = 0
        self.replayed = 0
        self.seconds = 0.0

    def enter(self, instance: bytes, way: Way) -> None:
        """Let a transport that is connected to this process of a server take over the sessions with that process.

        So it does with those of an earlier process at the same address, which the server may not know any more. The
        server is told of those that have ended: it may not know yet.
        """
        self.ways[instance] = way
        for identity in self.ended_at(instance):
            way.tell_ended(identity)
        for link in list(self.links.values()):
            if link.peer.instance == instance or link.owner.server_address == way.server_address:
                way.take_over(link)
            else:
                self.left(link)

    def left(self, link: Any) -> None:  # noqa: ANN401 - as for a way
        """End a session without a connection if no transport leads to its server, and the only server is connected.

        The client has been reloaded with the address of another server, or of one that has started again elsewhere.
        """
        if link.parked and self.sole and self.ways and not self.way_to(link):
            link.end("its server has been left")

    def way_to(self, link: Any) -> Way | None:  # noqa: ANN401 - as for a way
        """Return the transport that is connected to the server of a session, or to one that has taken its place."""
        if way := self.ways.get(link.peer.instance):
            return way
        return next((way for way in self.ways.values() if way.server_address == link.owner.server_address), None)

    def refused_by(self, instance: bytes, server_address: str) -> None:
        """End the sessions without a connection that the process of a server does not have, which refuses this client.

        It has taken the place of an earlier process at its address, unless that one is connected at the same time. The
        only server has taken the place of any other.
        """
        for link in list(self.links.values()):
            lost = link.parked and link.peer.instance != instance and link.peer.instance not in self.ways
            if lost and (self.sole or link.owner.server_address == server_address):
                link.end("its server has started again")

    def exit(self, way: Way) -> None:
        """Forget a transport that is no longer connected."""
        for instance in [instance for instance, other in self.ways.items() if other is way]:
            del self.ways[instance]

    def leave(self, owner: object) -> None:
        """End the sessions of a transport with their connections, because the other end stops."""
        for link in self.of(owner):
            link.keep_no_longer()

    def leave_peer(self, name: str) -> None:
        """End all sessions with a client, or with servers, when they lose their connections: an end stops."""
        for link in list(self.links.values()):
            if link.peer.name == name:
                link.keep_no_longer()

    def end_others(self, name: str, instance: bytes) -> None:
        """End the sessions without a connection of earlier processes of a client, which are over."""
        for link in list(self.links.values()):
            if link.parked and link.peer.name == name and link.peer.instance != instance:
                link.end("the client has started again")

    def leave_private(self, name: str) -> None:
        """End sessions that an eavesdropper can't read when they lose their connections: other ones are in clear."""
        for link in list(self.links.values()):
            if link.private and link.peer.name == name:
                link.keep_no_longer()

    def of(self, owner: object) -> list[Any]:
        """Return the sessions of a transport."""
        return [link for link in self.links.values() if link.owner is owner]

    def ended(self, instance: bytes, identity: bytes) -> None:
        """Tell this process of a server that the client has ended a session, now and whenever it is connected again.

        The present control channel may be as dead as the connection of the session.
        """
        self._ended.append((instance, identity))
        if way := self.ways.get(instance):
            way.tell_ended(identity)

    def ended_at(self, instance: bytes) -> list[bytes]:
        """Return the last sessions with this process of a server that the client has ended."""
        return [identity for server, identity in self._ended if server == instance]

    def apply(self, timeout: float, memory: int) -> None:
        """Use other limits from now on."""
        self.timeout, self.memory = timeout, memory

    def rotate(self, max_age: float, max_bytes: int) -> None:
        """Replace connections at another age, or after another number of bytes, from now on."""
        self.max_age, self.max_bytes = max_age, max_bytes

    def most(self, before: int) -> int:
        """Return the bytes that a session may keep, which had ``before`` at first and needs more.

        It needs more when bytes leave faster than acknowledgements arrive: that many are in flight.
        """
        if self.held < self.memory // 2:
            return min(2 * before, _LARGEST)
        return before if self.held < self.memory else self.share

    @property
    def most_control(self) -> int:
        """Bytes of control frames that a session may keep beyond that; they do not wait, and are few in fair use."""
        return _CONTROL if self.held < self.memory else _LEAST_CONTROL

    @property
    def step(self) -> int:
        """The bytes that a session may send before it looks at its memory again: together half of the memory."""
        free = self.memory // 2 - self.held
        return max(_SMALL_STEP, min(_STEP, free // max(1, len(self.links))))

    @property
    def keeps_finished(self) -> bool:
        """True if a session without streams may wait, too: for the last bytes that the other end may not have."""
        return self.parked < _MOST_FINISHED

    @property
    def share(self) -> int:
        """The bytes that a session may keep at first."""
        if self.held < self.memory:
            return _SHARE
        return min(_SHARE, max(_LEAST, self.memory // max(1, len(self.links))))

    def state(self) -> ResumptionState:
        """Return the counters as data."""
        return ResumptionState(
            parked=self.parked,
            resumes=self.resumes,
            rotations=self.rotations,
            seconds=self.seconds,
            replayed=self.replayed,
            memory=self.held,
        )
