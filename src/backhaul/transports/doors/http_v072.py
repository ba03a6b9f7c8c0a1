"""The client's control channel on ws, wss, wsmux and wssmux towards a server of v0.7.2."""

import socket
from collections.abc import Callable

from backhaul.net.poller import Poller
from backhaul.transports.control.channel import ControlChannel
from backhaul.transports.control.websocket import PROBE, WsControlDecoder, encode_signal
from backhaul.wire.checks import Health
from backhaul.wire.peer import V072
from backhaul.wire.signals import Signal


class WsLine:
    """Owns the control channel."""

    server = V072
    keys = None
    can_ask = True  # every WebSocket server answers a ping

    def __init__(
        self, poller: Poller, sock: socket.socket, on_signal: Callable[[Signal], None], lost: Callable[[str], None]
    ) -> None:
        self._report = on_signal
        decoder = WsControlDecoder(self._reply, from_client=False)
        self._control = ControlChannel(poller, sock, decoder, self._on_signal, lost)

    def start(self, rest: bytes = b"") -> None:
        """Begin to read; ``rest`` holds the bytes after the handshake."""
        self._control.start(rest)

    def admission(self, *, resumes: bool) -> None:
        """Return None: v0.7.2 wants the token in each request."""

    def send(self, signal: Signal) -> None:
        """Send ``signal``."""
        self._control.send(encode_signal(signal, masked=True))

    def refuse(self, target: str, reason: str) -> None:
        """Do nothing: v0.7.2 has no signal for this."""

    def report(self, health: Health) -> None:
        """Do nothing: v0.7.2 asks for no checks."""

    def tell_ended(self, identity: bytes) -> None:
        """Do nothing: no session with v0.7.2 outlives its connection."""

    def probe(self) -> None:
        """Ping the server."""
        self._control.send(PROBE)

    def ping_if_silent(self) -> None:
        """Ping a silent server."""
        if self._control.fell_silent():
            self.probe()

    def close(self) -> None:
        """Close the channel."""
        self._control.close()

    def _reply(self, data: bytes) -> None:
        self._control.send(data)

    def _on_signal(self, signal: Signal) -> None:
        if signal == Signal.HEARTBEAT:
            self.send(Signal.HEARTBEAT)
        self._report(signal)
