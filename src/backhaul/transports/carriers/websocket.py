"""A tunnel connection of ws and wss: WebSocket messages; the first text message names the target."""

import functools
import logging
import socket
from enum import Enum, auto
from typing import NamedTuple

from backhaul.net.predicates import has_input
from backhaul.net.sockets import expect_outages
from backhaul.relay.datagrams_in_channel import DatagramChannel
from backhaul.relay.engine import Relay
from backhaul.relay.flows import Flow, connect_flow
from backhaul.relay.framed import FramedRelay
from backhaul.relay.outcome import FLOW_OVER, Done
from backhaul.relay.traffic import Traffic
from backhaul.relay.ws_channel import WsChannel
from backhaul.transports.connection import Connection
from backhaul.transports.user import User
from backhaul.wire import websocket
from backhaul.wire.peer import Feature, Peer
from backhaul.wire.signals import Signal
from backhaul.wire.smux import is_nop
from backhaul.wire.targets import MAX_TARGET, UDP_PREFIX

from .dedicated import CarrierOwner, IdleOwner
from .idle import SilentConnection

log = logging.getLogger("backhaul.tunnel")

_SESSIONS = "the client runs wsmux or wssmux, this server ws or wss; set the same transport on both ends"
_PING = websocket.encode(websocket.BINARY, bytes([Signal.PING]), masked=False)
_UNASKED = websocket.encode(websocket.PONG, b"", masked=True)  # RFC 6455, 5.5.3: a heartbeat in one direction


class _ClosedError(websocket.WebSocketError):
    """The other end has sent a close frame, or is gone."""


class WsIdle(SilentConnection):
    """An idle connection on the public end. The client sends nothing on it; proxies in between may ping."""

    __slots__ = ("_ended", "_owner", "_parser")

    def __init__(self, relay: Relay, connection: Connection, owner: CarrierOwner) -> None:
        super().__init__(relay, connection)
        self._owner = owner
        self._ended = False
        self._parser = websocket.FrameParser(self, expect_masked=True)
        relay.pings.add(self)
        if connection.received:  # a client sends nothing before the target
            self._refuse()

    @property
    def takes_flows(self) -> bool:
        """True for peers with extensions; v0.7.2 knows no targets of datagrams on this transport."""
        return self.peer.supports(Feature.DATAGRAMS)

    def attach(self, user: User) -> bool:
        """Announce the target and join both; the user's first bytes leave together with the announcement."""
        if not self._alive():
            return False
        user.take_early()
        first = user.preface + user.early
        data = websocket.encode(websocket.TEXT, user.target.encode(), masked=False)
        if first:
            data += websocket.encode(websocket.BINARY, first, masked=False)
        try:
            rest = self._announce(data)
        except OSError:
            return False
        channel = self._channel(rest)
        joined = FramedRelay(self._relay, channel, user.sock, user.traffic, user.done, towards_user=True)
        channel.start(joined)
        joined.start(sent_before=len(user.early))
        if user.reset:
            joined.sock_reset()
        return True

    def attach_flow(self, flow: Flow) -> bool:
        """Announce the target and become the flow's far end."""
        if not self._alive():
            return False
        try:
            rest = self._announce(websocket.encode(websocket.TEXT, f"{UDP_PREFIX}{flow.target}".encode(), masked=False))
        except OSError:
            return False
        channel = self._channel(rest)
        channel.disable_nagle()
        consumer = DatagramChannel(channel, flow.counters)
        consumer.start(flow.from_far, flow.close)
        channel.start(consumer)
        flow.attach(consumer)
        return True

    def ping(self) -> None:
        """Send the ping of v0.7.2."""
        if not self._send_control(_PING):
            self._give_up()

    def ping_if_silent(self) -> None:
        """Ping unless bytes have moved since the last call."""
        if not self._was_active():
            self.ping()

    def close(self, *, reset: bool = False) -> None:
        """Close the connection."""
        self._relay.pings.discard(self)
        super().close(reset=reset)

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Note that the client has sent a message, which ends the connection."""
        del opcode, piece, message_end
        self._ended = True

    def on_control(self, opcode: int, payload: bytes) -> None:
        """Answer the ping of a proxy; note a close."""
        if opcode == websocket.PING:
            self._ended |= not self._send_control(websocket.encode(websocket.PONG, payload, masked=False))
        elif opcode == websocket.CLOSE:
            self._ended = True

    def _channel(self, unsent: bytes) -> WsChannel:
        self._relay.pings.discard(self)
        return WsChannel(self._relay, self._sock, self._parser, unsent, masked=False, peer=self.peer)

    def _alive(self) -> bool:
        """Return whether the connection is silent, as it should be; its end may still be unread."""
        if self._sock.fileno() < 0:
            return False
        if has_input(self._sock):
            self._readable()
        if self._ended:
            self.close()
        return self._sock.fileno() >= 0

    def _received(self, data: bytes) -> None:
        try:
            self._parser.feed(memoryview(data))
        except websocket.WebSocketError:
            self._ended = True
            if is_nop(data):
                self._owner.fit.mismatched(_SESSIONS)
        if self._ended:
            self._give_up()

    def _gone(self) -> None:
        self._owner.carrier_gone(self)


class _Sending(Enum):
    """The state of the user's direction when the target is named."""

    OPEN = auto()
    ENDED = auto()
    RESET = auto()


class WsIdleConnection(SilentConnection):
    """An idle connection on the client."""

    __slots__ = ("_kept", "_owner", "_parser", "_reader", "_sending", "_target")

    def __init__(self, relay: Relay, connection: Connection, owner: IdleOwner) -> None:
        super().__init__(relay, connection)
        self._owner = owner
        self._target = ""
        self._kept = bytearray()
        self._sending = _Sending.OPEN
        self._reader = websocket.MessageReader(MAX_TARGET, self._on_message, self._on_control)
        self._parser = websocket.FrameParser(self, expect_masked=False)
        if not self.peer.supports(Feature.PINGS):
            relay.pings.add(self)
        if connection.received:  # later, because the owner does not know this object yet
            relay.loop.call_soon(relay.poller.run, self._sock, functools.partial(self._received, connection.received))

    def ping_if_silent(self) -> None:
        """Send an unsolicited pong unless bytes have moved: a v0.7.2 server reads nothing yet and need not answer."""
        if not self._was_active() and not self._send_control(_UNASKED):
            self._give_up()

    def close(self, *, reset: bool = False) -> None:
        """Close the connection."""
        self._relay.pings.discard(self)
        super().close(reset=reset)

    @property
    def _early(self) -> "_Early":
        return _Early(bytes(self._kept), self._unsent, self._sending, self.peer)

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Read the target; keep the user's bytes that arrive after it."""
        if self._target:
            self._kept += piece
            if self.peer.supports(Feature.HALF_CLOSE) and message_end and not piece:  # see WsChannel
                self._sending = _Sending.RESET if opcode == websocket.BINARY else _Sending.ENDED
        else:
            self._reader.on_payload(opcode, piece, message_end=message_end)

    def on_control(self, opcode: int, payload: bytes) -> None:
        """Answer a ping; end at a close."""
        self._on_control(opcode, payload)

    def _on_message(self, opcode: int, payload: bytes) -> None:
        if opcode == websocket.TEXT:
            self._target = payload.decode("utf-8", "replace") or "(empty)"

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == websocket.PING:
            if not self._send_control(websocket.encode(websocket.PONG, payload, masked=True)):
                raise _ClosedError
        elif opcode == websocket.CLOSE:
            raise _ClosedError

    def _received(self, data: bytes) -> None:
        if self._sock.fileno() < 0:
            return
        try:
            self._parser.feed(memoryview(data))
        except _ClosedError:
            self._give_up()
            return
        except websocket.WebSocketError as error:
            what = f"dropped a tunnel connection: {error}; both ends need the same transport"
            self._relay.complaints.warn("frame", what)
            self._owner.fit.mismatched(f"{error}; both ends need the same transport")
            self._give_up()
            return
        if self._target:
            self._relay.poller.ignore_readable(self._sock)
            self._relay.poller.ignore_writable(self._sock)
            self._relay.pings.discard(self)
            del self._reader  # it holds methods of this object; without the reference cycle everything is freed at once
            expect_outages(self._sock)
            self._owner.addressed(self, WsArrival(self._relay, self._sock, self._parser, self._target, self._early))

    def _gone(self) -> None:
        self._owner.addressed(self, None)


class _Early(NamedTuple):
    """The state of a user when the target is named."""

    kept: bytes  # bytes of the user that have arrived
    unsent: bytes  # the rest of an answer to a ping
    sending: _Sending
    peer: Peer


class WsArrival:
    """A user on a tunnel connection of its own; owns the connection until it is joined or refused."""

    __slots__ = ("_early", "_parser", "_relay", "_sock", "datagrams", "target")

    def __init__(
        self, relay: Relay, sock: socket.socket, parser: websocket.FrameParser, target: str, early: _Early
    ) -> None:
        self._relay = relay
        self._sock = sock
        self._parser = parser
        self._early = early
        self.datagrams = early.peer.supports(Feature.DATAGRAMS) and target.startswith(UDP_PREFIX)
        self.target = target.removeprefix(UDP_PREFIX) if self.datagrams else target

    def join(self, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        """Join it with the target; bytes that arrived early go first."""
        channel = self._channel()
        if self.datagrams:
            self._join_flow(channel, sock, traffic, done)
            return
        joined = FramedRelay(self._relay, channel, sock, traffic, done, towards_user=False)
        channel.start(joined, unread=len(self._early.kept))
        joined.start(self._early.kept, ended=self._early.sending is _Sending.ENDED)
        if self._early.sending is _Sending.RESET:
            joined.on_reset()

    def refuse(self, *, reset: bool) -> None:
        """Close the connection, with a reset if the target sent one."""
        self._channel().drop(reset=reset)

    def _join_flow(self, channel: WsChannel, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        flows = self._relay.flows
        channel.disable_nagle()
        consumer = DatagramChannel(channel, flows.counters)
        flow = Flow(flows, consumer, self.target, traffic, flows.counters, done=functools.partial(done, FLOW_OVER))
        connect_flow(self._relay.poller, flow, sock)
        channel.start(consumer, unread=len(self._early.kept))
        consumer.start(flow.from_near, flow.close, self._early.kept)
        if self._early.sending is not _Sending.OPEN:
            flow.close()

    def _channel(self) -> WsChannel:
        early = self._early
        return WsChannel(self._relay, self._sock, self._parser, early.unsent, masked=True, peer=early.peer)
