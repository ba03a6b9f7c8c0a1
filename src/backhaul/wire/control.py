"""The bytes of a control channel on tcp, tcpmux and udp, without input or output."""

from typing import Final

from backhaul.errors import TransportError

from .signals import TICKET_SIZE, Signal
from .transports import TRANSPORTS

# The second byte of a hello names the transport of its sender, so mismatched ends notice at once.
_NAMES: Final[dict[int, str]] = {one.hello: one.name for one in TRANSPORTS.values() if one.hello}
_HELLO_SIZE: Final = 2  # bytes

_TO_CLIENT = frozenset({Signal.HEARTBEAT, Signal.CHANNEL, Signal.CLOSED, Signal.RTT})
_TO_SERVER = frozenset({Signal.HEARTBEAT, Signal.CLOSED, Signal.RTT})


class UnknownSignalError(TransportError):
    """The server sent a byte that is no signal."""


def hello(transport: str) -> bytes:
    """Return the bytes that a client with ``transport`` (tcp, tcpmux or udp) sends after its RTT echo."""
    return bytes([Signal.HELLO, TRANSPORTS[transport].hello])


def hello_answer(transport: str, ticket: bytes) -> bytes:
    """Return the server's answer to a client's hello; tunnel connections begin with ``ticket`` from then on."""
    return hello(transport) + ticket


class ServerControlDecoder:
    """Reads the bytes of a client on the control channel.

    A v0.7.2 server ignores every byte that it does not know, and so does this decoder. ``transport`` is the one that
    the client named in its last hello. It is empty before a hello, and for a transport that this version does not know.
    """

    __slots__ = ("_hello_begun", "transport")

    def __init__(self) -> None:
        self._hello_begun = False
        self.transport = ""

    def feed(self, data: bytes) -> list[Signal]:
        """Return the signals in ``data``; HELLO once its second byte has arrived."""
        signals = []
        for byte in data:
            if self._hello_begun:
                signals.append(Signal.HELLO)
                self._hello_begun = False
                self.transport = _NAMES.get(byte, "")
            elif byte == Signal.HELLO:
                self._hello_begun = True
            elif byte in _TO_SERVER:
                signals.append(Signal(byte))
        return signals


class ClientControlDecoder:
    """Reads the bytes of a server on the control channel.

    A server with extensions sends a hello, which sets ``ticket`` and ``transport``. The latter is empty for a transport
    that this version does not know.
    """

    __slots__ = ("_hello", "ticket", "transport")

    def __init__(self) -> None:
        self._hello = bytearray()
        self.ticket = b""
        self.transport = ""

    def feed(self, data: bytes) -> list[Signal]:
        """Return the signals in ``data``; HELLO once the ticket has arrived.

        Raises UnknownSignalError at a byte that no server sends.
        """
        signals = []
        for byte in data:
            if self._hello or byte == Signal.HELLO:
                signals += self._collect_hello(byte)
            elif byte in _TO_CLIENT:
                signals.append(Signal(byte))
            else:
                raise UnknownSignalError(f"unknown signal 0x{byte:02x}")
        return signals

    def _collect_hello(self, byte: int) -> list[Signal]:
        self._hello.append(byte)
        if len(self._hello) < _HELLO_SIZE + TICKET_SIZE:
            return []
        self.transport = _NAMES.get(self._hello[1], "")
        self.ticket = bytes(self._hello[_HELLO_SIZE:])
        self._hello.clear()
        return [Signal.HELLO]
