"""Many users on each tunnel connection: the carrier of tcpmux, wsmux and wssmux."""

import asyncio
import logging
import socket
from collections.abc import Callable

from backhaul.relay.datagram_channel import DatagramChannel
from backhaul.relay.deadlines import Deadlines
from backhaul.relay.flows import Flow, connect_flow
from backhaul.relay.framed import FramedRelay
from backhaul.relay.link import Link
from backhaul.relay.pair import Relay, Traffic
from backhaul.relay.poller import release
from backhaul.relay.smux_channel import SmuxChannel
from backhaul.wire.signals import Signal
from backhaul.wire.smux import Role, SmuxError, Stream, StreamIdsExhausted
from backhaul.wire.strings import StringReader, StringTooLongError, encode_string
from backhaul.wire.targets import MAX_TARGET, UDP_PREFIX

from .base import LEAVE_TIMEOUT, ClientEvents, ClientSettings, Door, Gate, ServerEvents, ServerSettings, User

log = logging.getLogger("backhaul.mux")

_REQUEST_PATIENCE = 3.0  # seconds until a session that was asked for is given up, as long as a user waits
_TARGET_TIMEOUT = 10.0  # seconds: the target follows the opening of a stream at once
MAX_UNADDRESSED = 1024  # streams without a target on one session: the accept backlog of the Go library


class MuxServer:
    """The public end: sessions, and which of them gets the next user."""

    def __init__(
        self,
        settings: ServerSettings,
        events: ServerEvents,
        relay: Relay,
        make_gate: Callable[["MuxServer"], Gate],
    ) -> None:
        self._events = events
        self._relay = relay
        self._settings = settings.mux
        self._per_session = settings.mux_con
        self._links: set[Link] = set()
        self._asked: Deadlines[object] = Deadlines(_REQUEST_PATIENCE, _forget)
        self._gate = make_gate(self)

    @property
    def connected(self) -> bool:
        """Whether a control channel is open."""
        return self._gate.connected

    @property
    def rtt(self) -> float:
        """Seconds of a round trip to the client, 0 if not measured."""
        return self._gate.rtt

    @property
    def idle(self) -> int:
        """How many sessions have no stream."""
        return sum(not len(link) for link in self._links)

    def start(self) -> None:
        """Listen; raises OSError."""
        self._gate.start()

    def expect_user(self, waiting: int) -> None:
        """Ask for a session when those that are there, or on their way, can't take the users that wait."""
        room = sum(max(0, self._per_session - len(link)) for link in self._links)
        if waiting > room + len(self._asked) * self._per_session:
            self._ask()

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""
        self._gate.send(signal)

    def carry(self, user: User) -> bool:
        """Open a stream for the user on the session with the fewest; False if all are full."""
        opened = self._open(user.target)
        if not opened:
            return False
        link, stream = opened
        if user.preface:
            stream.push(user.preface)
        _join(link, stream, user.sock, user.traffic, user.done, towards_user=True).start()
        link.flush()
        if len(link) >= self._per_session:
            self.expect_user(1)
        return True

    def carry_flow(self, flow: Flow) -> bool:
        """Open a stream for the flow on the session with the fewest; False if all are full."""
        if self._links and not any(link.ours for link in self._links):
            log.warning("dropped a UDP user of target %s: a v0.7.2 client takes none on this transport", flow.target)
            flow.close()
            return True
        opened = self._open(UDP_PREFIX + flow.target)
        if not opened:
            return False
        link, stream = opened
        rider = DatagramChannel(SmuxChannel(link, stream), flow.tally)
        stream.sink = rider
        rider.start(flow.from_far, flow.close)
        link.flush()
        flow.carry(rider)
        return True

    def stop_listening(self) -> None:
        """Take no more connections, close the idle ones; users in flight go on."""
        self._gate.stop_listening()
        self._retire_all()

    def control_opened(self, peer: str) -> None:
        """Tell the control plane."""
        self._events.control_opened(peer)

    def control_lost(self, reason: str) -> None:
        """Open no more streams on the sessions of that channel; those that are open go on."""
        self._asked.clear()
        self._retire_all()
        self._events.control_lost(reason)

    def tunnel_opened(self, sock: socket.socket, rest: bytes = b"", *, ours: bool) -> None:
        """A tunnel connection has come in: a session from now on."""
        if len(self._asked):
            self._asked.discard(self._asked.oldest())
        link = Link(self._relay, sock, Role.CLIENT, self._settings, self, ours=ours)
        self._links.add(link)
        link.start(rest)
        self._events.carrier_ready()

    def stream_opened(self, link: Link, stream: Stream) -> None:
        """A client never opens streams: whatever this is, it ends at once."""
        stream.sink = _Nobody()
        stream.finish()
        stream.abandon()
        log.warning("a client opened stream %d on its session, which no client does; closed", stream.id)
        del link

    def stream_closed(self, link: Link) -> None:
        """There is room on this session, or it has served its time."""
        if link in self._links:
            self._events.carrier_ready()
        elif not len(link):
            link.end("its last stream has closed")

    def link_lost(self, link: Link, why: str) -> None:
        """A session is gone."""
        if link in self._links:
            self._links.discard(link)
            log.debug("session lost: %s", why)

    def not_smux(self, link: Link, data: bytes) -> None:
        """No session but a handshake: a client that came back while its old control channel looked alive."""
        self._links.discard(link)
        self._gate.regreet(link.conn, data)

    def _open(self, target: str) -> tuple[Link, Stream] | None:
        """Return a new stream on the session with the fewest, its target announced; None if all are full."""
        link = min(self._links, key=len, default=None)
        if link is None or len(link) >= self._per_session:
            return None
        if not link.usable():
            return self._open(target)
        try:
            stream = link.session.open()
        except StreamIdsExhausted as error:
            log.info("a session is used up: %s", error)
            self._retire(link)
            return self._open(target)
        stream.push(encode_string(target.encode()))
        return link, stream

    def _ask(self) -> None:
        self._asked.add(object())
        self._gate.send(Signal.CHANNEL)

    def _retire_all(self) -> None:
        for link in list(self._links):
            self._retire(link)

    def _retire(self, link: Link) -> None:
        self._links.discard(link)
        if not len(link):
            link.end("its control channel is gone")


class MuxClient:
    """The client's side: sessions, on which the server opens streams."""

    def __init__(
        self,
        settings: ClientSettings,
        events: ClientEvents,
        relay: Relay,
        make_door: Callable[["MuxClient"], Door],
    ) -> None:
        self._events = events
        self._relay = relay
        self._settings = settings.mux
        self._links: set[Link] = set()
        self._leaving: set[Link] = set()  # their control channel is gone; the server may not know yet
        self._addressing: Deadlines[_Announced] = Deadlines(_TARGET_TIMEOUT, _Announced.late)
        self._opening = 0
        self._door = make_door(self)

    @property
    def idle(self) -> int:
        """How many sessions have no stream."""
        return sum(not len(link) for link in self._links)

    @property
    def opening(self) -> int:
        """How many tunnel connections are being dialled."""
        return self._opening

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""
        return await self._door.connect()

    def open(self) -> None:
        """Dial one more session, in the background."""
        self._opening += 1
        self._door.dial(self._opened)

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""
        self._door.send(signal)

    def disconnect(self) -> None:
        """Close the control channel; users in flight go on.

        Idle sessions are left to the server to close: in this very moment it may be opening streams on them.
        """
        self._door.disconnect()
        self._opening = 0
        leaving, self._links = self._links, set()
        self._leaving |= leaving
        asyncio.get_running_loop().call_later(LEAVE_TIMEOUT, self._close, leaving)

    @property
    def leaving(self) -> int:
        """How many idle sessions of a lost control channel the server has not closed yet."""
        return sum(not len(link) for link in self._leaving)

    def close(self) -> None:
        """Close those that are still there."""
        self._close(set(self._leaving))

    @staticmethod
    def _close(links: set[Link]) -> None:
        for link in links:
            if not len(link):
                link.end("its control channel is gone")

    def heard(self, signal: Signal) -> None:
        """Tell the control plane."""
        self._events.heard(signal)

    def control_lost(self, reason: str) -> None:
        """Tell the control plane, which will disconnect."""
        self._events.control_lost(reason)

    def stream_opened(self, link: Link, stream: Stream) -> None:
        """A user is on the way: the target comes first."""
        announced = _Announced(link, stream, self._addressed)
        stream.sink = announced
        if len(self._addressing) >= MAX_UNADDRESSED:
            announced.late()
        else:
            self._addressing.add(announced)

    def stream_closed(self, link: Link) -> None:
        """A session whose control channel is gone ends with its last stream."""
        if link not in self._links and not len(link):
            link.end("its last stream has closed")

    def link_lost(self, link: Link, why: str) -> None:
        """A session is gone; the pool will notice."""
        self._links.discard(link)
        self._leaving.discard(link)
        log.debug("session lost: %s", why)

    def not_smux(self, link: Link, data: bytes) -> None:
        """Only a server looks for handshakes."""

    def _opened(self, result: socket.socket | Exception, ours: bool, rest: bytes) -> None:  # noqa: FBT001 - see Opened
        self._opening -= 1
        if isinstance(result, Exception):
            log.debug("can't open a session: %s", result)
            return
        link = Link(self._relay, result, Role.SERVER, self._settings, self, ours=ours)
        self._links.add(link)
        link.start(rest)

    def _addressed(self, announced: "_Announced") -> None:
        self._addressing.discard(announced)
        if announced.target:
            self._events.arrived(announced)


class _Announced:
    """A stream whose target is not known or not reached yet; keeps what comes behind it."""

    datagrams = False

    def __init__(self, link: Link, stream: Stream, addressed: Callable[["_Announced"], None]) -> None:
        self.target = ""
        self.datagrams = False
        self._link = link
        self._stream = stream
        self._addressed = addressed
        self._reader = StringReader(MAX_TARGET)
        self._kept = bytearray()
        self._ended = False
        self._lost = False

    def on_data(self, view: memoryview) -> int:
        """See smux.Sink."""
        if self.target:
            self._kept += view
            return 0
        try:
            found = self._reader.feed(view)
        except StringTooLongError:
            self.late()
            return len(view)
        if found is None:
            return len(view)
        text, rest = found
        self._kept += rest
        target = text.decode("utf-8", "replace")
        self.datagrams = target.startswith(UDP_PREFIX)
        self.target = target.removeprefix(UDP_PREFIX) or "(empty)"
        asyncio.get_running_loop().call_soon(self._addressed, self)  # no stream may be written while one is fed
        return len(view) - len(rest)

    def on_fin(self) -> None:
        """See smux.Sink."""
        self._ended = True
        if not self.target:
            self.late()

    def on_window(self) -> None:
        """See smux.Sink."""

    def on_lost(self, reason: SmuxError) -> None:
        """See smux.Sink."""
        del reason
        self._lost = True

    def on_reset(self) -> None:
        """The user has gone with a reset before the target was reached."""
        self.refuse(reset=True)

    def join(self, sock: socket.socket, traffic: Traffic) -> None:
        """Connect it with the target, whose socket is taken over; bytes that came early go first."""
        if self._lost:
            release(self._link.relay.poller, sock)
            return
        if self.datagrams:
            self._join_flow(sock, traffic)
            return
        relay = _join(self._link, self._stream, sock, traffic, None, towards_user=False)
        relay.start(bytes(self._kept), ended=self._ended)

    def _join_flow(self, sock: socket.socket, traffic: Traffic) -> None:
        flows = self._link.relay.flows
        rider = DatagramChannel(SmuxChannel(self._link, self._stream), flows.tally)
        self._stream.sink = rider
        flow = Flow(flows, rider, self.target, traffic, flows.tally)
        connect_flow(self._link.relay.poller, flow, sock)
        rider.start(flow.from_near, flow.close, bytes(self._kept))
        if self._ended:
            flow.close()

    def refuse(self, *, reset: bool) -> None:
        """Close the stream, with a reset if the target gave one and the other end understands it."""
        if self._lost:
            return
        self._lost = True
        if reset and self._link.ours:
            self._link.session.nop(self._stream.id)
        self._stream.finish()
        self._stream.abandon()
        if not self._link.feeding:
            self._link.settle()
        self._link.stream_closed()

    def late(self) -> None:
        """No target came: an orphan, as a v0.7.2 server can leave them."""
        self._addressed(self)
        self.refuse(reset=False)


def _join(
    link: Link,
    stream: Stream,
    sock: socket.socket,
    traffic: Traffic,
    done: Callable[[], None] | None,
    *,
    towards_user: bool,
) -> FramedRelay:
    relay = FramedRelay(SmuxChannel(link, stream), sock, traffic, done, towards_user=towards_user)
    stream.sink = relay
    return relay


class _Nobody:
    """The sink of a stream that nobody wants."""

    def on_data(self, view: memoryview) -> int:
        """See smux.Sink."""
        return len(view)

    def on_fin(self) -> None:
        """See smux.Sink."""

    def on_window(self) -> None:
        """See smux.Sink."""

    def on_lost(self, reason: SmuxError) -> None:
        """See smux.Sink."""


def _forget(_request: object) -> None:
    """A session that was asked for has not come; the next user asks again."""
