"""Many users on each tunnel connection: the client's end of tcpmux, wsmux and wssmux."""

import functools
import logging
import socket
from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from backhaul.mux.link import Link
from backhaul.mux.sink import NOBODY, TunnelStream
from backhaul.mux.stream_channel import SmuxChannel
from backhaul.net.closing import release
from backhaul.net.deadlines import Deadlines
from backhaul.relay.datagrams_in_channel import DatagramChannel
from backhaul.relay.flows import Flow, connect_flow
from backhaul.relay.framed import FramedRelay
from backhaul.relay.outcome import LOST, SHORT_OF_MEMORY, Done
from backhaul.relay.traffic import Traffic
from backhaul.transports.client_end import Door
from backhaul.transports.connection import Connection
from backhaul.transports.settings import ClientSettings
from backhaul.wire.peer import Feature, Peer
from backhaul.wire.signals import Signal
from backhaul.wire.smux import Role, SmuxError
from backhaul.wire.strings import StringTooLongError
from backhaul.wire.targets import UDP_PREFIX

from .client import PooledClient
from .links import make_link

if TYPE_CHECKING:
    from backhaul.mux.resumable_link import ResumableLink

    from .resources import MuxClientResources
    from .resuming import Resumer

log = logging.getLogger("backhaul.mux")

_TARGET_TIMEOUT = 10.0  # seconds: the target follows the opening of a stream at once
_NOTHING_PASSES = "tunnel connections begin, but nothing passes on them; try another transport or port"
_GONE = "its control channel is gone"
_MOST_ARRIVALS = 8  # users in a turn of the event loop: each costs 0.2 ms
MAX_ARRIVING = 1 << 13
"""Users whose targets are known, and not dialled yet: so many take two seconds."""
MAX_UNADDRESSED = 1024  # streams without a target on one session: the accept backlog of the Go library


class MuxClient(PooledClient[Link]):
    """The client's end: sessions on which the server opens streams."""

    def __init__(
        self,
        settings: ClientSettings,
        door: Door,
        relay: "MuxClientResources",
        *,
        messages: bool,
    ) -> None:
        """``messages`` is true if the transport's connections carry WebSocket messages."""
        super().__init__(settings, door, relay.resumption)
        self._messages = messages
        self._relay = relay
        self._settings = settings.mux
        self.connected = False  # there is a control channel
        self._addressing: Deadlines[_Announced] = Deadlines(_TARGET_TIMEOUT, _Announced.late)
        self._arriving: deque[_Announced] = deque()

    @property
    def idle(self) -> int:
        """Number of sessions without a stream."""
        return sum(not len(link) for link in self._carriers)

    @property
    def spare(self) -> int:
        """The sessions that a server does not need when it asks; one with extensions asks when all are full."""
        return 0 if any(link.peer.supports(Feature.SURPLUS) for link in self._carriers) else self.idle

    @property
    def open_now(self) -> int:
        """Number of sessions that have a connection."""
        return sum(not link.parked for link in self._carriers)

    @property
    def obstacle(self) -> str:
        """The reason why no user can be carried: on no session anything passes."""
        stuck = all(link.resumes and self._resumer.vain(link) for link in self._carriers)
        return _NOTHING_PASSES if self._carriers and stuck else ""

    @property
    def leaving(self) -> int:
        """Number of idle sessions of a lost control channel that the server has not closed yet."""
        return sum(not len(link) and not link.parked for link in self._leaving)

    @property
    def urgent(self) -> bool:
        """True while there are sessions with users that can be resumed, which may need a control channel."""
        return any(link.kept and len(link) for link in (*self._carriers, *self._leaving))

    def _enter(self) -> None:
        """Resume the sessions that have lost their connection."""
        self.connected = True
        if self._resumption.links:
            self._resumer.connected()
        for link in self._resumption.of(self):
            self.take_over(link)
        super()._enter()

    def disconnect(self) -> None:
        """Close the control channel; users in flight go on, if possible with another transport to the server."""
        self.connected = False
        super().disconnect()
        if "_resumer" in vars(self):  # it may dial although the server has ended all sessions
            self._resumer.disconnected()
        for link in self._resumption.of(self):
            self._pass_on(link)

    def signal_received(self, signal: Signal, count: int = 1) -> None:
        """Report the signal to the control plane; after a goodbye sessions can't be resumed any more."""
        if signal == Signal.CLOSED:
            self._resumption.leave(self)
        super().signal_received(signal, count)

    @functools.cached_property
    def _resumer(self) -> "Resumer":
        from .resuming import Resumer  # noqa: PLC0415 - loads cryptography

        return Resumer(
            self._relay,
            self._door,
            self._adopt,
            serves=self._serves,
            doubt=self._events.doubt,
            disowned=self._events.disowned,
            messages=self._messages,
        )

    def _serves(self, link: Link) -> bool:
        """Return whether another connection can be dialled for a session."""
        return self.connected and link.owner is self

    def take_over(self, link: "ResumableLink") -> None:
        """Serve a session from now on, unless its owner is connected; resume it if it has lost its connection."""
        owner = link.owner
        if isinstance(owner, MuxClient) and owner is not self:
            if owner.connected:
                return
            owner.release(link)
            link.owner = self
            self._leaving.add(link)
            self._resumer.watch(link)
        if link.private and not self._door.private:
            link.keep_no_longer()
        elif not len(link) and link.peer.instance != self._door.server.instance:
            link.end("its server has started again")
        elif link.parked:
            self._adopt(link)
            self._resumer.lost(link)

    def release(self, link: Link) -> None:
        """Forget a session, because another transport serves it from now on."""
        self._forget(link)
        self._resumer.forget(link)

    def _pass_on(self, link: Link) -> None:
        """Let another transport serve a session, if one is connected to the same server; end one that was left."""
        if way := self._resumption.way_to(link):
            way.take_over(link)
        else:
            self._resumption.left(link)

    def _adopt(self, link: Link) -> None:
        """Use a session again, which may be that of another control channel."""
        self._leaving.discard(link)
        self._carriers.add(link)

    def link_ended(self, peer: Peer, identity: bytes) -> None:
        """Tell the server on the control channel, because the session's own connection may be dead."""
        self._resumption.ended(peer.instance, identity)

    def link_parked(self, link: Link) -> None:
        """Find another connection for a session, or let a transport do it that is connected."""
        if self.connected:
            self._adopt(link)
            self._resumer.lost(link)
        else:
            self._pass_on(link)

    def stream_opened(self, link: Link, stream: TunnelStream) -> None:
        """Take the stream of a user, which begins with the target."""
        announced = _Announced(self._relay, link, stream, self._addressed)
        stream.sink = announced
        if len(self._addressing) < MAX_UNADDRESSED:
            self._addressing.add(announced)
        else:
            announced.late()
            link.session.note_vain()

    def stream_closed(self, link: Link) -> None:
        """Do nothing: only the server, which opens streams, needs to know of free places."""

    def load_changed(self, link: Link) -> None:
        """End a session whose control channel is gone with its last stream, if the server does not.

        A server with extensions does: it may be opening a stream at this moment.
        """
        if not link.session.streams and link not in self._carriers and not link.peer.supports(Feature.SURPLUS):
            link.finish("its last stream has closed")

    def link_lost(self, link: Link, why: str) -> None:
        """Forget a session; the pool notices."""
        self._forget(link)
        if link.resumes:
            self._resumer.forget(link)
        log.debug("session lost: %s", why)

    def not_smux(self, link: Link, data: bytes) -> None:
        """Do nothing: only a server looks for handshakes."""

    def _begin(self, connection: Connection, among: set[Link]) -> None:
        link = make_link(self._relay, connection, Role.SERVER, self._settings, self, messages=self._messages)
        among.add(link)
        if link.resumes:
            self._resumer.watch(link)
        link.start(connection.received)

    def _close_idle(self, carrier: Link) -> None:
        """Close a session that can't be resumed; others have been left to the server, which opens streams."""
        if not len(carrier) and not carrier.kept:
            carrier.finish(_GONE)

    def _release_idle(self, carrier: Link) -> None:
        """Leave the connection only: the server may have opened a stream of which nothing has arrived."""
        if not len(carrier):
            carrier.lost(_GONE)

    def _addressed(self, announced: "_Announced") -> None:
        """Report a user soon, because no stream may be written while one is fed.

        A server can open thousands of streams at once, and all other users would wait until their targets are dialled.
        While many wait, nothing is dialled for those who have left.
        """
        self._addressing.discard(announced)
        if not announced.target:
            return
        if len(self._arriving) >= MAX_ARRIVING:
            self._relay.complaints.warn("arriving", f"user refused: {MAX_ARRIVING} others wait for their targets")
            announced.refuse(reset=True)
            return
        if not self._arriving:
            self._relay.loop.call_soon(self._report_some)
        self._arriving.append(announced)

    def _report_some(self) -> None:
        try:
            for _ in range(min(_MOST_ARRIVALS, len(self._arriving))):
                announced = self._arriving.popleft()
                if announced.waits or len(self._arriving) < _MOST_ARRIVALS:
                    self._events.arrived(announced)
        finally:
            if self._arriving:
                self._relay.loop.call_soon(self._report_some)


class _Announced:
    """A stream whose target is not known or not reached yet; it keeps the bytes after the target."""

    datagrams = False

    def __init__(
        self, relay: "MuxClientResources", link: Link, stream: TunnelStream, addressed: Callable[["_Announced"], None]
    ) -> None:
        self.target = ""
        self.datagrams = False
        self._relay = relay
        self._link = link
        self._stream = stream
        self._addressed = addressed
        self._reader = link.targets.reader(stream)
        self._kept = bytearray()
        self._ended = False
        self._reset = False
        self._lost = False
        self._outcome = LOST  # of a user who leaves before the target is reached

    @property
    def waits(self) -> bool:
        """True unless the user has left."""
        return not self._lost

    @property
    def owner(self) -> Hashable:
        """The transport that the session belongs to."""
        return self._link.owner

    def on_data(self, view: memoryview) -> int:
        """Read the target; keep the bytes after it."""
        if self.target:
            self._keep(view)
            return 0
        try:
            found = self._reader.feed(view)
        except StringTooLongError:
            self.late()
            return len(view)
        if found is None:
            return len(view)
        text, rest = found
        target = text.decode("utf-8", "replace")
        self.datagrams = target.startswith(UDP_PREFIX)
        self.target = target.removeprefix(UDP_PREFIX) or "(empty)"
        self._addressed(self)
        if rest and not self._lost:
            self._keep(rest)
        return len(view) - len(rest)

    def on_fin(self) -> None:
        """Note the end of the user's direction; without a target, refuse the stream."""
        self._ended = True
        if not self.target:
            self.late()

    def on_window(self) -> None:
        """Do nothing: nothing is sent yet."""

    def on_lost(self, reason: SmuxError) -> None:
        """Note the loss of the session."""
        del reason
        self._lost = True
        self._take_kept()

    def over_budget(self) -> None:
        """Refuse the user, who has sent much before the target was reached."""
        self._outcome = SHORT_OF_MEMORY
        self.refuse(reset=True)

    def on_reset(self) -> None:
        """Note the user's reset, before which the target gets the bytes; without a target, refuse the stream."""
        self._reset = True
        if not self.target:
            self.late()

    def join(self, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        """Join it with the target, whose socket it takes over; bytes that arrived early go first."""
        if self._lost:
            release(self._relay.poller, sock, reset=True)
            done(self._outcome)
            return
        if self.datagrams:
            self._join_flow(sock, traffic, done)
            return
        channel = SmuxChannel(self._link, self._stream)
        joined = FramedRelay(self._relay, channel, sock, traffic, done, towards_user=False)
        channel.attach(joined)
        joined.start(self._take_kept(), ended=self._ended and not self._reset)
        if self._reset:
            joined.on_reset()

    def _join_flow(self, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        flows = self._relay.flows
        channel = SmuxChannel(self._link, self._stream)
        consumer = DatagramChannel(channel, flows.counters, flows.room.of(channel.owner))
        channel.attach(consumer)
        flow = Flow(flows, consumer, self.target, traffic, flows.counters, done=done)
        connect_flow(self._relay.poller, flow, sock)
        consumer.start(flow.from_near, flow.close, self._take_kept())
        if self._ended:
            flow.close()

    def refuse(self, *, reset: bool) -> None:
        """Close the stream, with a reset if the other end understands it."""
        if self._lost:
            return
        self._lost = True
        self._take_kept()
        if reset and self._link.resets:
            self._link.session.reset(self._stream.id)
        self._stream.finish()
        self._stream.abandon()
        self._stream.sink = NOBODY  # the server may keep the stream for ever
        if not self._link.feeding:
            self._link.settle()
        self._link.stream_closed()

    def _keep(self, piece: memoryview | bytes) -> None:
        self._kept += piece
        self._relay.budget.hold(self, len(self._kept))

    def _take_kept(self) -> bytes:
        """Return the kept bytes, for which the caller answers from now on."""
        if not self._kept:
            return b""
        self._relay.budget.hold(self, 0)
        kept, self._kept = bytes(self._kept), bytearray()
        return kept

    def late(self) -> None:
        """Refuse a stream without a target: a v0.7.2 server can leave such orphans."""
        self._addressed(self)
        self.refuse(reset=False)
