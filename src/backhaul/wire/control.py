"""What the bytes of a control channel on tcp, tcpmux and udp mean, without input or output."""

from typing import Final

from backhaul.errors import TransportError

from .signals import TICKET_SIZE, Signal
from .transports import TRANSPORTS

# The second byte of a hello names the transport of its sender, so that ends which do not fit learn of it at once.
_NAMES: Final[dict[int, str]] = {one.hello: one.name for one in TRANSPORTS.values() if one.hello}
_HELLO_SIZE: Final = 2  # bytes

_TO_CLIENT = frozenset({Signal.HEARTBEAT, Signal.CHANNEL, Signal.CLOSED, Signal.RTT})
_TO_SERVER = frozenset({Signal.HEARTBEAT, Signal.CLOSED, Signal.RTT})


class UnknownSignalError(TransportError):
    """The server sent a byte that means nothing to a client."""


def hello(transport: str) -> bytes:
    """Return what a client that runs `transport` (tcp, tcpmux or udp) sends after its RTT echo."""
    return bytes([Signal.HELLO, TRANSPORTS[transport].hello])


def hello_answer(transport: str, ticket: bytes) -> bytes:
    """Return the server's answer to a client's hello: from now on tunnel connections show `ticket`."""
    return hello(transport) + ticket


class ServerControlDecoder:
    """Reads what a client says on the control channel.

    A v0.7.2 server ignores every byte it does not know, so this one does too. `transport` is what the client has named
    in its last hello, empty before and for a name that this version does not know.
    """

    __slots__ = ("_hello_begun", "transport")

    def __init__(self) -> None:
        self._hello_begun = False
        self.transport = ""

    def feed(self, data: bytes) -> list[Signal]:
        """Return the signals in `data`; HELLO once its second byte has come."""
        heard = []
        for byte in data:
            if self._hello_begun:
                heard.append(Signal.HELLO)
                self._hello_begun = False
                self.transport = _NAMES.get(byte, "")
            elif byte == Signal.HELLO:
                self._hello_begun = True
            elif byte in _TO_SERVER:
                heard.append(Signal(byte))
        return heard


class ClientControlDecoder:
    """Reads what a server says on the control channel; `ticket` and `transport` are set when the server is ours.

    `transport` is what the server has named in its last hello, empty for a name that this version does not know.
    """

    __slots__ = ("_hello", "ticket", "transport")

    def __init__(self) -> None:
        self._hello = bytearray()
        self.ticket = b""
        self.transport = ""

    def feed(self, data: bytes) -> list[Signal]:
        """Return the signals in `data`; HELLO once the ticket has come.

        Raises UnknownSignalError at a byte that no server sends.
        """
        heard = []
        for byte in data:
            if self._hello or byte == Signal.HELLO:
                heard += self._collect_hello(byte)
            elif byte in _TO_CLIENT:
                heard.append(Signal(byte))
            else:
                raise UnknownSignalError(f"unknown signal 0x{byte:02x}")
        return heard

    def _collect_hello(self, byte: int) -> list[Signal]:
        self._hello.append(byte)
        if len(self._hello) < _HELLO_SIZE + TICKET_SIZE:
            return []
        self.transport = _NAMES.get(self._hello[1], "")
        self.ticket = bytes(self._hello[_HELLO_SIZE:])
        self._hello.clear()
        return [Signal.HELLO]
