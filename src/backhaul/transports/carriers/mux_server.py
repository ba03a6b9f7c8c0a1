"""Many users on each tunnel connection: the public end of tcpmux, wsmux and wssmux."""

import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from backhaul.mux.balancer import Balancer
from backhaul.mux.link import Link
from backhaul.mux.sink import NOBODY, TunnelStream
from backhaul.mux.stream_channel import UserChannel
from backhaul.net.closing import release
from backhaul.net.deadlines import Deadlines
from backhaul.relay.datagrams_in_channel import DatagramChannel
from backhaul.relay.flows import Flow
from backhaul.relay.framed import FramedRelay
from backhaul.relay.rated import kind_of
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.transports.public_end import Carry, Gate
from backhaul.transports.session import ClientSession, dial_time
from backhaul.transports.settings import CarrierLimits, ServerSettings
from backhaul.transports.user import User
from backhaul.wire.peer import Feature, Peer
from backhaul.wire.signals import Signal
from backhaul.wire.smux import Role, SmuxError, StreamIdsExhausted
from backhaul.wire.targets import UDP_PREFIX

from .links import make_link
from .server import GatedServer

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from .resources import MuxServerResources
    from .returning import Returning  # loads cryptography

log = logging.getLogger("backhaul.mux")

_OVERDUE = 60.0  # seconds for which an answer may still arrive; a longer outage ends the control channel
_CROWDED = 8  # times as many streams as a session should have, if the client opens no other
_NO_SESSIONS = (
    "the client's tunnel connections are no sessions, or of another version; "
    "set the same transport and mux_version on both ends"
)
_OPEN = "on tcpmux anyone behind the client's address can open them; wssmux requires the token"


class MuxServer(GatedServer):
    """The public end: sessions, and the choice of the session for the next user."""

    def __init__(
        self,
        settings: ServerSettings,
        limits: CarrierLimits,
        gate: Gate,
        relay: "MuxServerResources",
        *,
        messages: bool,
    ) -> None:
        """``messages`` is true if the transport's connections carry WebSocket messages."""
        super().__init__(settings, limits, gate)
        self._relay = relay
        self._messages = messages
        self._links = Balancer()
        self._retired: dict[Link, None] = {}  # sessions that get no more users, the first one first
        self._asked: Deadlines[object] = Deadlines(relay.patience.request, self._unanswered)
        self._overdue: Deadlines[object] = Deadlines(_OVERDUE, lambda _request: None)
        self._returning: Deadlines[Returning] = Deadlines(relay.patience.resume, lambda returning: returning.abort())
        self._surplus = 0  # sessions that were opened on request, beyond the client's pool
        self._retiring: TimerHandle | None = None  # set while there is a surplus
        self._answered = -math.inf  # the time at which the client, which opens no session, showed that it is alive
        self._full = False  # a user or flow has found no room, and no session has had any since

    @property
    def idle(self) -> int:
        """Number of sessions without a stream."""
        return self._links.idle

    def expect_user(self, waiting: int) -> None:
        """Request a session if those that are open or on their way have no room for the users that wait.

        One user alone needs no look if there is a session: ``assign`` finds room or requests another one.
        """
        if waiting == 1 and len(self._links):
            return
        self._require(waiting)

    def _require(self, waiting: int) -> None:
        most = self._limits.mux_con
        if not self._links.has_room(waiting - len(self._asked) * most, most):
            self._ask()

    def assign(self, user: User) -> bool:
        """Open a stream for the user on the session with the fewest; return False if all are full."""
        opened = self._open(user.target)
        if not opened:
            return False
        link, stream = opened
        channel = UserChannel(link, stream)
        try:
            if first := user.preface + user.early:
                stream.push(first)
            kind = kind_of(FramedRelay, user.traffic)
            joined = kind(self._relay, channel, user.sock, user.traffic, user.done, towards_user=True)
        except BaseException:
            channel.drop(reset=True)
            raise
        channel.attach(joined)
        joined.start(sent_before=len(user.early))
        if user.reset:
            joined.sock_reset()
        else:
            joined.read_now()  # the user's first bytes leave with the opening of the stream
        link.flush_together()
        return True

    def assign_flow(self, flow: Flow) -> Carry:
        """Open a stream for the flow on the session with the fewest, if one has room and the client carries flows."""
        if self.session.connected and not self.session.peer.supports(Feature.DATAGRAMS):
            return Carry.REFUSED
        opened = self._open(UDP_PREFIX + flow.target)
        if not opened:
            return Carry.LATER
        link, stream = opened
        channel = UserChannel(link, stream)
        consumer = DatagramChannel(channel, flow.counters, flow.room)
        channel.attach(consumer)
        consumer.start(flow.from_far, flow.close)
        link.flush_together()
        flow.attach(consumer)
        return Carry.CARRIED

    def tunnel_opened(self, connection: Connection) -> None:
        """Start a session on a new tunnel connection, or resume one."""
        if isinstance(connection, SealedConnection) and connection.seals.resumes:
            self._await_greeting(connection)
            return
        if not self._has_place():
            release(self._relay.poller, connection.sock)
            return
        requests = self._overdue if len(self._overdue) else self._asked
        if len(requests):
            requests.discard(requests.oldest())
            self._answered = self._relay.loop.time()
            self._expect_surplus()
        if connection.peer.extended:  # its handshake named this transport; its first frame may come after 20 s
            self.fit.seen()
        proven = self.session.vouches
        settings, messages = self._settings.mux, self._messages
        link = make_link(self._relay, connection, Role.CLIENT, settings, self, messages=messages, proven=proven)
        self._links.add(link)
        link.start(connection.received)
        self._events.carrier_ready()

    def _await_greeting(self, connection: SealedConnection) -> None:
        from .returning import Returning  # noqa: PLC0415 - loads cryptography

        if len(self._returning) >= self._limits.channel_size:
            self._returning.oldest().abort()  # perhaps dialled ahead of need, which the newest may not be
        Returning(self._relay, connection, self, self._returning, messages=self._messages).start()

    def link_ended(self, peer: Peer, identity: bytes) -> None:
        """Do nothing: the client learns of it when it resumes the session."""

    def link_parked(self, link: Link) -> None:
        """Wait for the client, which dials as soon as it knows."""

    def link_resumed(self, link: Link) -> None:
        """Use a session again; its control channel may be another one."""
        if link not in self._links and self.session.connected and len(self._links) < self._limits.channel_size:
            self._retired.pop(link, None)
            self._links.add(link)
        self._events.carrier_ready()

    def _has_place(self) -> bool:
        """Return whether another session may be kept; a session that is not proven may be closed for it."""
        if len(self._links) >= self._limits.channel_size:
            self._relay.complaints.warn("channel_size", "session refused: channel_size sessions are open already")
            return False
        limit = self._settings.limits.unproven_sessions
        if self.session.vouches or self._links.unproven < limit:
            return True
        self._relay.complaints.warn(
            "unproven", f"{limit} sessions have carried no answer yet, closed one of them: {_OPEN}"
        )
        dispensable = self._links.last_choice()
        if dispensable is None:
            return False
        dispensable.end("another one was opened, and no target had answered through this one")
        return True

    def client_connected(self, session: ClientSession) -> None:
        """Serve this client; sessions that an eavesdropper can't read are not resumed on a line in clear."""
        if not (self._settings.tls or (session.keys and session.keys.payload)):
            self._relay.resumption.leave_private(session.peer.name)
        super().client_connected(session)

    def client_lost(self, reason: str, *, goodbye: bool = False) -> None:
        """Keep the sessions of a lost client; one that stops can't resume them."""
        if goodbye and not self.session.moves:
            self._relay.resumption.leave_peer(self.session.peer.name)
        super().client_lost(reason, goodbye=goodbye)

    def stop_listening(self) -> None:
        """Stop listening; sessions may be resumed on another transport of this process."""
        super().stop_listening()
        for returning in self._returning.clear():
            returning.abort()

    def stream_opened(self, link: Link, stream: TunnelStream) -> None:
        """End the session at once: no client opens streams, whatever this peer is."""
        del link
        stream.sink = NOBODY
        raise SmuxError("its client opened a stream, which no client does")

    def stream_closed(self, link: Link) -> None:
        """Report room on this session; later, because a stream may close while its user is being assigned."""
        if self._full and link in self._links:
            self._full = False
            self._relay.loop.call_soon(self._events.carrier_ready)

    def load_changed(self, link: Link) -> None:
        """Update the load index and close a retired session when its last stream ends."""
        if self._links.update(link):
            self._relay.loop.call_soon(self._events.carrier_ready)
        elif not link.session.streams and link not in self._links:
            link.finish("its last stream has closed")

    def link_lost(self, link: Link, why: str) -> None:
        """Forget a session. One that ends with its first user, and without a frame of the client, is a mismatch."""
        if link.load and not link.proved and self.session.connected:
            self.fit.mismatched(_NO_SESSIONS)
        self._retired.pop(link, None)
        if link in self._links:
            self._links.discard(link)
            self._surplus = max(0, self._surplus - 1)  # in either case there is one session less
            log.debug("session lost: %s", why)

    def not_smux(self, link: Link, data: bytes) -> None:
        """Pass a handshake to the gate: the client has returned while its old control channel looked alive."""
        self._links.discard(link)
        self._gate.rehandshake(link.conn, data)

    def _open(self, target: str) -> tuple[Link, TunnelStream] | None:
        """Return a new stream on the session with the fewest, its target announced; None if all are full.

        Request another session if this one was the last with room, or there is none.
        """
        for link in self._with_room():
            if not link.usable():
                continue  # the balancer no longer chooses it, because it is closed or stalled
            try:
                stream = link.session.open()
            except StreamIdsExhausted as error:
                log.info("session used up: %s", error)
                self._retire(link)
                continue
            if not link.proven and self._links.trying and not len(self._asked):
                self._ask()  # the proven ones are full, and this one may be a neighbour's
            link.tell_load()
            link.targets.announce(stream, target.encode())
            if link.stalled or link.load >= self._limits.mux_con:
                self._require(1)
            return link, stream
        self._full = True
        self._require(max(1, self._events.waiting))
        return None

    def _with_room(self) -> Iterator[Link]:
        """Yield the sessions to try, those with the fewest streams first.

        After an unanswered request, or if no more users may wait, also yield full ones of a living client. After an
        unanswered request also yield the stalled ones, the one stalled for longest last.
        """
        most = self._limits.mux_con
        yield from self._below(most)
        alive = self._relay.loop.time() - self._answered < self._relay.patience.answered
        if alive and (len(self._overdue) or self._events.waiting >= self._limits.channel_size):
            yield from self._below(_CROWDED * most)
        if len(self._overdue):
            yield from (link for link in reversed(list(self._links)) if len(link) < most)

    def _below(self, most: int) -> Iterator[Link]:
        while (link := self._links.choose(most)) is not None:
            yield link

    def _ask(self) -> None:
        self._asked.seconds = max(self._relay.patience.request, dial_time(self.session))
        self._asked.add(object())
        self.session.send(Signal.CHANNEL)

    def _unanswered(self, _request: object) -> None:
        """Give up a request for a session; v0.7.2 ignores some after its pool has shrunk."""
        self._overdue.add(object())
        self._events.carrier_ready()  # a stalled session is better than none
        if waiting := self._events.waiting:
            self.session.ask(max(self._relay.patience.request, 2 * self.session.rtt), self._told)
            self._require(waiting)

    def _told(self, alive: bool) -> None:  # noqa: FBT001 - the answer itself
        """Let users share full sessions with a living client: it opens no others, or is slow to do so."""
        if alive:
            self._answered = self._relay.loop.time()
            self._events.carrier_ready()

    def _expect_surplus(self) -> None:
        """Count a session beyond the client's pool, which is closed when the peak is over."""
        self._surplus += 1
        if not self._retiring:
            self._links.unused()
            self._retiring = self._relay.loop.call_later(self._relay.patience.unused, self._retire_surplus)

    def _retire_surplus(self) -> None:
        """Close unused sessions after a peak; only this end can, because it opens the streams."""
        for link in self._links.unused()[: self._surplus]:
            link.finish("no user has needed it for a while")
        self._retiring = None
        if self._surplus:
            self._retiring = self._relay.loop.call_later(self._relay.patience.unused, self._retire_surplus)

    def _drop_idle(self) -> None:
        """Open no more streams on the sessions of that channel; open streams go on."""
        self._asked.clear()
        self._overdue.clear()
        self._answered = -math.inf
        self._surplus = 0
        if self._retiring:
            self._retiring.cancel()
            self._retiring = None
        for link in self._links:
            self._retire(link)
        self._end_unused()

    def _retire(self, link: Link) -> None:
        """Leave a session to the users that it has. Its client may keep it open without any, for ever."""
        self._links.discard(link)
        self._retired[link] = None
        if not len(link):
            link.finish("its control channel is gone")

    def _end_unused(self) -> None:
        """End the retired sessions beyond the limit that have no user: these are of several former control channels."""
        unused = [link for link in self._retired if not link.session.in_use]
        for link in unused[: max(0, len(self._retired) - self._limits.channel_size)]:
            link.flush()
            link.end("its control channel is gone, and its client does not end it")
