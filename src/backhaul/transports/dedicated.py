"""One tunnel connection for each user: the carrier of transport tcp."""

import functools
import logging
import socket
from collections.abc import Callable

from backhaul.relay.deadlines import Deadlines
from backhaul.relay.pair import End, Relay, Traffic
from backhaul.relay.poller import release
from backhaul.wire.frames import FrameReader, FrameTooLongError, encode
from backhaul.wire.signals import Signal
from backhaul.wire.targets import MAX_TARGET

from .base import ClientEvents, Door, Gate, ServerEvents, ServerSettings, User
from .sockets import plain_ip

log = logging.getLogger("backhaul.tunnel")
_READ_SIZE = 1 << 14
# A header that has begun is there at once: the server writes it in one piece. The limit only keeps a broken
# connection from being counted as idle for ever.
_HEADER_TIMEOUT = 10.0


class DedicatedServer:
    """The public end: idle tunnel connections in the order in which they came, the oldest is used first."""

    def __init__(
        self,
        settings: ServerSettings,
        events: ServerEvents,
        relay: Relay,
        make_gate: Callable[["DedicatedServer"], Gate],
    ) -> None:
        self._settings = settings
        self._events = events
        self._relay = relay
        self._poller = relay.poller
        self._gate = make_gate(self)
        self._idle: dict[socket.socket, bool] = {}  # and whether the other end is ours
        self.dropped = 0  # idle connections beyond channel_size

    @property
    def connected(self) -> bool:
        """Whether a control channel is open."""
        return self._gate.connected

    @property
    def idle(self) -> int:
        """How many tunnel connections wait for a user."""
        return len(self._idle)

    def start(self) -> None:
        """Listen; raises OSError."""
        self._gate.start()

    def expect_user(self, waiting: int) -> None:
        """Ask for the connection that will replace the one this user takes."""
        del waiting
        self._gate.send(Signal.CHANNEL)

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""
        self._gate.send(signal)

    def carry(self, user: User) -> bool:
        """Announce the user's target on an idle connection and join the two; False if none is idle."""
        header = encode(Signal.TCP, user.target.encode()) + user.preface
        while self._idle:
            conn, ours = self._take()
            if _announce(conn, header):
                near, far = End(user.sock, half_close=True), End(conn, half_close=ours)
                self._relay.join(near, far, user.traffic, done=user.done)
                return True
            release(self._poller, conn)
        return False

    def stop_listening(self) -> None:
        """Take no more connections, close the idle ones; users in flight go on."""
        self._gate.stop_listening()
        self._close_idle()

    def control_opened(self, peer: str) -> None:
        """Tell the control plane."""
        self._events.control_opened(peer)

    def control_lost(self, reason: str) -> None:
        """Close the idle connections, which belonged to that channel, and tell the control plane."""
        self._close_idle()
        self._events.control_lost(reason)

    def tunnel_opened(self, sock: socket.socket, rest: bytes = b"", *, ours: bool) -> None:
        """Keep the connection for a user to come; one that has more to say than its ticket is no tunnel connection."""
        if rest or len(self._idle) >= self._settings.channel_size:
            self.dropped += 1
            release(self._poller, sock)
            return
        self._idle[sock] = ours
        self._poller.on_readable(sock, functools.partial(self._spoke, sock))
        self._events.carrier_ready()

    def _take(self) -> tuple[socket.socket, bool]:
        sock = next(iter(self._idle))
        return sock, self._idle.pop(sock)

    def _spoke(self, sock: socket.socket) -> None:
        """An idle connection never speaks: it has died, or it is the handshake of a client that came back."""
        try:
            data = sock.recv(_READ_SIZE)
            ip = plain_ip(sock.getpeername())
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, ip = b"", ""
        del self._idle[sock]
        self._poller.ignore_readable(sock)
        if data:
            self._gate.greet(sock, ip, data)
        else:
            release(self._poller, sock)

    def _close_idle(self) -> None:
        while self._idle:
            release(self._poller, self._take()[0])


def _announce(conn: socket.socket, header: bytes) -> bool:
    """Write the header on an idle connection; False if it is dead (or speaks, which an idle one never does)."""
    try:
        conn.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        pass
    except OSError:
        return False
    else:
        return False
    try:
        return conn.send(header) == len(header)
    except OSError:
        return False


class DedicatedClient:
    """The client's side: idle tunnel connections that wait for a target."""

    def __init__(self, events: ClientEvents, relay: Relay, make_door: Callable[["DedicatedClient"], Door]) -> None:
        self._events = events
        self._relay = relay
        self._poller = relay.poller
        self._door = make_door(self)
        self._waiting: dict[socket.socket, bool] = {}  # and whether the other end is ours
        self._reading: Deadlines[_Header] = Deadlines(_HEADER_TIMEOUT, self._header_late)
        self._opening = 0

    @property
    def opening(self) -> int:
        """How many tunnel connections are being dialled."""
        return self._opening

    @property
    def idle(self) -> int:
        """How many tunnel connections wait for a user."""
        return len(self._waiting)

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""
        return await self._door.connect()

    def open(self) -> None:
        """Dial one more tunnel connection, in the background."""
        self._opening += 1
        self._door.dial(self._opened)

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""
        self._door.send(signal)

    def disconnect(self) -> None:
        """Close the control channel and the idle tunnel connections; users in flight go on."""
        self._door.disconnect()
        self._opening = 0
        for sock in self._waiting:
            release(self._poller, sock)
        self._waiting.clear()

    def heard(self, signal: Signal) -> None:
        """Tell the control plane."""
        self._events.heard(signal)

    def control_lost(self, reason: str) -> None:
        """Tell the control plane, which will disconnect."""
        self._events.control_lost(reason)

    def _opened(self, result: socket.socket | OSError, ours: bool, rest: bytes) -> None:  # noqa: FBT001 - see Opened
        del rest
        self._opening -= 1
        if isinstance(result, OSError):
            log.debug("can't open a tunnel connection: %s", result.strerror)
            return
        self._waiting[result] = ours
        self._poller.on_readable(result, functools.partial(self._readable, result))

    def _readable(self, sock: socket.socket) -> None:
        """The server has named a target on this connection, or has closed it."""
        try:
            data = sock.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        ours = self._waiting.pop(sock)
        if data:
            self._read_header(_Header(sock, half_close=ours), data)
        else:
            release(self._poller, sock)

    def _header_readable(self, header: "_Header") -> None:
        try:
            data = header.sock.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._read_header(header, data)
        else:
            self._header_late(header)

    def _read_header(self, header: "_Header", data: bytes) -> None:
        try:
            frame = header.reader.feed(data)
        except FrameTooLongError as error:
            log.warning("dropped a tunnel connection: %s", error)
            self._header_late(header)
            return
        if frame is None:
            self._reading.add(header)
            self._poller.on_readable(header.sock, functools.partial(self._header_readable, header))
            return
        self._reading.discard(header)
        self._poller.ignore_readable(header.sock)
        if frame.kind != Signal.TCP:
            log.warning("dropped a tunnel connection: its header has the unknown type %d", frame.kind)
            release(self._poller, header.sock)
            return
        end = End(header.sock, half_close=header.half_close)
        self._events.arrived(DedicatedArrival(self._relay, end, frame.body.decode("utf-8", "replace"), frame.rest))

    def _header_late(self, header: "_Header") -> None:
        self._reading.discard(header)
        release(self._poller, header.sock)


class _Header:
    """A tunnel connection whose header has begun to come."""

    __slots__ = ("half_close", "reader", "sock")

    def __init__(self, sock: socket.socket, *, half_close: bool) -> None:
        self.sock = sock
        self.half_close = half_close
        self.reader = FrameReader(MAX_TARGET)


class DedicatedArrival:
    """A user on a tunnel connection of its own; owns the connection until it is joined or refused."""

    __slots__ = ("_end", "_relay", "_rest", "target")

    def __init__(self, relay: Relay, end: End, target: str, rest: bytes) -> None:
        self._relay = relay
        self._end = end
        self._rest = rest
        self.target = target

    def join(self, sock: socket.socket, traffic: Traffic) -> None:
        """Connect it with the target, whose socket is taken over; bytes that came early go first."""
        self._relay.join(self._end, End(sock, half_close=True), traffic, preface=self._rest)

    def refuse(self, *, reset: bool) -> None:
        """Close it, with a reset if the target gave one."""
        release(self._relay.poller, self._end.sock, reset=reset)
