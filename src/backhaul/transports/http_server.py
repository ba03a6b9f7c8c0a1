"""The gate of ws, wss, wsmux and wssmux on the public end: HTTP upgrades, with or without TLS.

Whoever can't show the token meets a decoy.
"""

import array
import asyncio
import fcntl
import functools
import logging
import socket
import ssl
import termios
from typing import Any, Final

from backhaul.burst import Burst
from backhaul.relay.deadlines import Deadlines
from backhaul.relay.pair import Relay
from backhaul.relay.poller import WOULD_BLOCK, release
from backhaul.wire import upgrade
from backhaul.wire.signals import Signal

from .acceptor import Acceptor
from .base import GateEvents, ServerSettings, taken_over
from .control_channel import ControlChannel
from .decoy import Decoy
from .sending import send_whole
from .sockets import listen, plain_ip
from .tls import ServerContext, shake_hands
from .ws_signals import WsEar, encode_signal

log = logging.getLogger("backhaul.server")

HEAD_TIMEOUT: Final = 10.0  # seconds for TLS and the request together: four round trips on the worst of links
MAX_STRANGERS: Final = 1024  # connections that have proved nothing yet; one more pushes out the oldest
_READ_SIZE: Final = 1 << 14
_ANSWER_WITHIN: Final = 15.0  # seconds that a client may take to answer a heartbeat; it answers at once
# v0.7.2's client drops what it reads together with the end of our answer. Once its kernel has all of the answer,
# it has read it a few milliseconds later (measured: 0 of 60 lost after 5 ms).
_SETTLE: Final = 0.01  # seconds
_SIOCOUTQ: Final = termios.TIOCOUTQ  # bytes that the peer's kernel has not acknowledged (tcp(7))


class HttpGate:
    """Listens on the tunnel's address and sorts what comes in; owns connections until they are sorted.

    `muxed`: tunnel connections become raw smux right behind the answer.
    """

    def __init__(self, settings: ServerSettings, events: GateEvents, relay: Relay, *, muxed: bool) -> None:
        """Raise TransportError when the certificate can't be used."""
        self._loop = asyncio.get_running_loop()
        self._relay = relay
        self._poller = relay.poller
        self._settings = settings
        self._token = settings.token.encode()
        self._events = events
        self._muxed = muxed
        self._tls = ServerContext(settings.tls) if settings.tls else None
        self._decoy = Decoy(relay, settings.decoy)
        self._strangers: Deadlines[_Stranger] = Deadlines(HEAD_TIMEOUT, self._too_slow)
        self._burst = Burst(log)
        self._acceptor: Acceptor | None = None
        self._control: ControlChannel | None = None
        self._asked = 0.0  # when the heartbeat left that has not been answered
        self._overdue: asyncio.TimerHandle | None = None
        self.rtt = 0.0  # seconds, of the last heartbeat

    @property
    def connected(self) -> bool:
        """Whether a control channel is open."""
        return self._control is not None

    def start(self) -> None:
        """Listen; raises OSError."""
        settings = self._settings
        listener = listen(settings.bind_host, settings.bind_port, settings.tunnel_options)
        self._acceptor = Acceptor(self._poller, listener, self._accepted, self._refused)

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one. A heartbeat wants an answer."""
        if not self._control:
            return
        self._control.send(encode_signal(signal, masked=False))
        if signal == Signal.HEARTBEAT and not self._overdue:
            self._asked = self._loop.time()
            self._overdue = self._loop.call_later(_ANSWER_WITHIN, self._lost, "a heartbeat was not answered")

    def regreet(self, sock: socket.socket, data: bytes) -> None:
        """See Gate: behind an upgrade there is no second handshake."""
        del data
        release(self._poller, sock)

    def stop_listening(self) -> None:
        """Take no more connections and close the control channel."""
        if self._acceptor:
            self._acceptor.close()
            self._acceptor = None
        for stranger in self._strangers.clear():
            release(self._poller, stranger.sock)
        self._decoy.close()
        self._drop_control()

    def _refused(self, error: OSError) -> None:
        self._burst.warn(error.errno, f"can't accept a tunnel connection: {error.strerror}")

    def _accepted(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        if len(self._strangers) >= MAX_STRANGERS:
            self._dismiss(self._strangers.oldest())
        stranger = _Stranger(sock, plain_ip(address))
        self._strangers.add(stranger)
        if self._tls:
            self._shake_hands(stranger, self._tls)
        else:
            self._listen(stranger)

    def _shake_hands(self, stranger: "_Stranger", tls: ServerContext) -> None:
        try:
            stranger.sock = sock = tls.wrap(stranger.sock)
        except OSError:  # gone already
            self._dismiss(stranger)
            return
        shake_hands(self._poller, sock, functools.partial(self._shaken, stranger))

    def _shaken(self, stranger: "_Stranger", result: socket.socket | Exception) -> None:
        if stranger not in self._strangers:
            return
        if isinstance(result, Exception):
            log.debug("dropped a connection from %s: %s", stranger.ip, result)
            self._strangers.discard(stranger)
        else:
            self._listen(stranger)

    def _listen(self, stranger: "_Stranger") -> None:
        self._poller.on_readable(stranger.sock, functools.partial(self._readable, stranger))

    def _readable(self, stranger: "_Stranger") -> None:
        try:
            data = stranger.sock.recv(_READ_SIZE)
        except WOULD_BLOCK:
            return
        except OSError:
            data = b""
        if not data:
            self._dismiss(stranger)
            return
        stranger.raw += data
        try:
            request = stranger.reader.feed(data)
        except upgrade.UpgradeError:
            self._show_decoy(stranger, None)
            return
        if request:
            self._sort(stranger, request)

    def _sort(self, stranger: "_Stranger", request: upgrade.Request) -> None:
        prefix = self._settings.path
        channel, tunnel = request.path == f"{prefix}/channel", request.path.startswith(f"{prefix}/tunnel")
        proven = upgrade.authorized(request, self._token)
        if not (channel or tunnel) or not proven or upgrade.upgrade_problem(request):
            if channel or tunnel:
                what = "no WebSocket upgrade" if proven else "wrong token"
                self._burst.warn((stranger.ip, what), f"refused a connection from {stranger.ip}: {what}")
            self._show_decoy(stranger, request)
            return
        self._poller.ignore_readable(stranger.sock)
        ours = upgrade.is_ours(request, self._token)
        if channel:
            admit = functools.partial(self._open_control, stranger, request.rest)
        elif self._control:
            admit = functools.partial(self._open_tunnel, stranger, request.rest, self._control, ours=ours)
        else:  # its client has given it up, together with the control channel
            self._dismiss(stranger)
            return
        answer = self._answer(request, ours=ours, padded=tunnel and self._muxed)
        send_whole(self._poller, stranger.sock, answer, admit, lambda _error: self._dismiss(stranger))

    def _open_tunnel(self, stranger: "_Stranger", rest: bytes, control: ControlChannel, *, ours: bool) -> None:
        self._strangers.discard(stranger)
        if control.closed:
            release(self._poller, stranger.sock)
        elif self._muxed and not ours:
            self._settle(stranger.sock, rest, control)
        else:
            self._events.tunnel_opened(stranger.sock, rest, ours=ours)

    def _answer(self, request: upgrade.Request, *, ours: bool, padded: bool) -> bytes:
        line = b""
        if ours:
            line = upgrade.mark_line(self._token, request.key)
        elif padded and not self._tls and upgrade.is_direct_v072(request):
            line = upgrade.padding_line(request.key)
        return upgrade.accept(request.key, line)

    def _settle(self, sock: socket.socket, rest: bytes, control: ControlChannel) -> None:
        """Let the peer read the answer before smux begins; see _SETTLE. A later control channel is another client's."""
        if control.closed:
            release(self._poller, sock)
        elif _unacknowledged(sock):
            self._loop.call_later(_SETTLE, self._settle, sock, rest, control)
        else:
            self._loop.call_later(_SETTLE, self._settled, sock, rest, control)

    def _settled(self, sock: socket.socket, rest: bytes, control: ControlChannel) -> None:
        if control.closed:
            release(self._poller, sock)
        else:
            self._events.tunnel_opened(sock, rest, ours=False)

    def _show_decoy(self, stranger: "_Stranger", request: upgrade.Request | None) -> None:
        self._strangers.discard(stranger)
        self._poller.forget(stranger.sock)
        # A client of ours with a wrong path ends up here: a website behind must not learn the token.
        raw = bytes(stranger.raw).replace(b"Bearer " + self._token, b"Bearer ")
        self._decoy.answer(stranger.sock, request, raw)

    def _open_control(self, stranger: "_Stranger", rest: bytes) -> None:
        self._strangers.discard(stranger)
        if self._control:
            self._drop_control()
            self._events.control_lost(taken_over(stranger.ip))
        ear = WsEar(self._say, from_client=True)
        self._control = ControlChannel(self._poller, stranger.sock, ear, self._heard, self._lost)
        self._events.control_opened(stranger.ip)
        self._control.start(rest)

    def _say(self, data: bytes) -> None:
        if self._control:
            self._control.send(data)

    def _heard(self, signal: Signal) -> None:
        if signal == Signal.HEARTBEAT and self._overdue:
            self.rtt = self._loop.time() - self._asked
            self._overdue.cancel()
            self._overdue = None
        elif signal == Signal.CLOSED:
            self._lost("the client is shutting down")

    def _lost(self, reason: str) -> None:
        if self._control:
            self._drop_control()
            self._events.control_lost(reason)

    def _drop_control(self) -> None:
        if self._overdue:
            self._overdue.cancel()
            self._overdue = None
        if self._control:
            self._control.close()
            self._control = None

    def _too_slow(self, stranger: "_Stranger") -> None:
        log.debug("dropped a connection from %s that asked for nothing within %g s", stranger.ip, HEAD_TIMEOUT)
        release(self._poller, stranger.sock)

    def _dismiss(self, stranger: "_Stranger") -> None:
        self._strangers.discard(stranger)
        release(self._poller, stranger.sock)


class _Stranger:
    """A connection that has proved nothing yet."""

    __slots__ = ("ip", "raw", "reader", "sock")

    def __init__(self, sock: socket.socket | ssl.SSLSocket, ip: str) -> None:
        self.sock = sock
        self.ip = ip
        self.raw = bytearray()
        self.reader = upgrade.RequestReader()


def _unacknowledged(sock: socket.socket) -> int:
    """Return how many bytes the peer's kernel has not acknowledged."""
    count = array.array("i", [0])
    fcntl.ioctl(sock, _SIOCOUTQ, count)
    return count[0]
