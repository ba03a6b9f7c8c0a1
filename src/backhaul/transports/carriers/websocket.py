"""A tunnel connection of ws and wss: WebSocket messages; the first text message names the target."""

from typing import TYPE_CHECKING

from backhaul.errors import TransportError
from backhaul.net.predicates import has_input
from backhaul.relay.codec import Codec
from backhaul.relay.message_channel import MessageChannel
from backhaul.relay.websocket_codec import WebSocketCodec
from backhaul.transports.connection import Connection
from backhaul.wire import websocket
from backhaul.wire.peer import Feature
from backhaul.wire.signals import Signal
from backhaul.wire.smux import is_nop
from backhaul.wire.targets import MAX_TARGET, UDP_PREFIX

from .dedicated_client import IdleOwner
from .dedicated_server import CarrierOwner
from .messages import ClosedError, LentConnection, MakeChannel, MessageArrival, MessageIdle

if TYPE_CHECKING:
    from .resources import MessageResources

_SESSIONS = "the client runs wsmux or wssmux, this server ws or wss; set the same transport on both ends"
_UNASKED = websocket.encode(websocket.PONG, b"", masked=True)  # RFC 6455, 5.5.3: a heartbeat in one direction


class WsIdle(MessageIdle):
    """An idle connection on the public end. The client sends nothing on it; proxies in between may ping."""

    __slots__ = ("_ended", "_frames", "_parser", "_ping")
    read_size = 1 << 10  # a flood of pings, each of which costs 1 us, delays others by less than a millisecond
    ping_message = websocket.encode(websocket.BINARY, bytes([Signal.PING]), masked=False)  # that of v0.7.2

    def __init__(self, relay: "MessageResources", connection: Connection, owner: CarrierOwner) -> None:
        super().__init__(relay, connection, owner)
        self._ended = False
        self._frames = 0  # control frames of the present read
        self._ping: tuple[bytes, ...] = ()  # the payload of the last one, if it is not answered yet
        self._parser = websocket.FrameParser(self, expect_masked=True)
        relay.pings.add(self)
        if connection.received:  # a client sends nothing before the target
            self._refuse()

    @property
    def takes_flows(self) -> bool:
        """True for peers with extensions; v0.7.2 knows no targets of datagrams on this transport."""
        return self.peer.supports(Feature.DATAGRAMS)

    def ping(self) -> None:
        """Send a ping."""
        if not self._send_control(self.ping_message):
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
        """Note the ping of a proxy, or a close."""
        self._frames += 1
        if opcode == websocket.PING:
            self._ping = (payload,)
        elif opcode == websocket.CLOSE:
            self._ended = True

    def _for_user(self, target: str) -> bytes:
        return websocket.encode(websocket.TEXT, target.encode(), masked=False)

    def _for_flow(self, target: str) -> bytes:
        return self._for_user(UDP_PREFIX + target)

    def _message(self, data: bytes) -> bytes:
        return websocket.encode(websocket.BINARY, data, masked=False)

    def _codec(self) -> Codec:
        return WebSocketCodec(self._parser, self.peer, masked=False)

    def _channel(self, unsent: bytes) -> MessageChannel:
        self._relay.pings.discard(self)
        return super()._channel(unsent)

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
        self._frames = 0
        try:
            self._parser.feed(memoryview(data))
        except websocket.WebSocketError:
            self._ended = True
            self._garbage(data)
        if self._frames > websocket.MOST_AT_ONCE or not self._parser.between_messages:
            self._ended = True
        if self._ended or not self._answer():
            self._give_up()

    def _answer(self) -> bool:
        """Answer the last ping, which is enough (RFC 6455, 5.5.3); return False if the connection is dead."""
        ping, self._ping = self._ping, ()
        return all(self._send_control(websocket.encode(websocket.PONG, payload, masked=False)) for payload in ping)

    def _garbage(self, data: bytes) -> None:
        """Learn from bytes that are no WebSocket frame."""
        if is_nop(data):
            self._owner.fit.mismatched(_SESSIONS)

    def _rest(self) -> None:
        super()._rest()
        self._parser.sink = self
        self._relay.pings.add(self)


class WsIdleConnection(LentConnection):
    """An idle connection on the client."""

    __slots__ = ("_arrival", "_frames", "_parser", "_ping")
    largest_announcement = MAX_TARGET

    def __init__(self, relay: "MessageResources", connection: Connection, owner: IdleOwner) -> None:
        super().__init__(relay, connection, owner)
        self._arrival: MessageArrival | None = None
        self._frames = 0  # control frames of the present read
        self._ping: tuple[bytes, ...] = ()  # the payload of the last one, if it is not answered yet
        self._parser = websocket.FrameParser(self._reader(), expect_masked=False)
        if not self.peer.supports(Feature.PINGS):
            relay.pings.add(self)
        if connection.received:
            self._receive_later(connection.received)

    def ping_if_silent(self) -> None:
        """Send an unsolicited pong unless bytes have moved: a v0.7.2 server reads nothing yet and need not answer."""
        if not self._was_active() and not self._send_control(_UNASKED):
            self._give_up()

    def close(self, *, reset: bool = False) -> None:
        """Close the connection."""
        self._relay.pings.discard(self)
        super().close(reset=reset)

    def _on_message(self, opcode: int, payload: bytes) -> None:
        """Read the target."""
        if opcode == websocket.TEXT:
            target = payload.decode("utf-8", "replace") or "(empty)"
            datagrams = self.peer.supports(Feature.DATAGRAMS) and target.startswith(UDP_PREFIX)
            codec = WebSocketCodec(self._parser, self.peer, masked=True)
            target = target.removeprefix(UDP_PREFIX) if datagrams else target
            self._addressed(codec, self._single(codec), target, datagrams=datagrams)

    def _addressed(self, codec: Codec, make: MakeChannel, target: str, *, datagrams: bool) -> None:
        """Leave later bytes to the arrival, which is passed on when all bytes of this read have been parsed."""
        unsent = self._unsent or self._pong()
        self._arrival = MessageArrival(self._relay, codec, make, target, unsent, datagrams=datagrams)

    def _on_control(self, opcode: int, payload: bytes) -> None:
        """Note a ping; end at a close, or at a flood."""
        self._frames += 1
        if opcode == websocket.CLOSE or self._frames > websocket.MOST_AT_ONCE:
            raise ClosedError
        if opcode == websocket.PING:
            self._ping = (payload,)

    def _received(self, data: bytes) -> None:
        if self._sock.fileno() < 0:
            return
        self._frames = 0
        try:
            self._parser.feed(memoryview(data))
        except ClosedError:
            self._give_up()
            return
        except TransportError as error:
            self._complain(error)
            self._give_up()
            return
        if self._arrival:
            self._relay.poller.ignore_readable(self._sock)
            self._relay.poller.ignore_writable(self._sock)
            self._relay.pings.discard(self)
            self._expect_outages()
            arrival, self._arrival = self._arrival, None
            self._owner.addressed(self, arrival)
        elif (pong := self._pong()) and not self._send_control(pong):
            self._give_up()

    def _pong(self) -> bytes:
        """Return the answer to the last ping, which is enough (RFC 6455, 5.5.3); nothing if there is none."""
        ping, self._ping = self._ping, ()
        return b"".join(websocket.encode(websocket.PONG, payload, masked=True) for payload in ping)

    def _reader(self) -> websocket.MessageReader:
        return websocket.MessageReader(self.largest_announcement, self._on_message, self._on_control)

    def _complain(self, error: TransportError) -> None:
        self._relay.complaints.warn("frame", f"dropped a tunnel connection: {error}; both ends need the same transport")
        self._owner.fit.mismatched(f"{error}; both ends need the same transport")

    def _gone(self) -> None:
        self._owner.addressed(self, None)
