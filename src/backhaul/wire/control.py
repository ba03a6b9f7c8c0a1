"""What the bytes of a control channel on tcp, tcpmux and udp mean, without input or output."""

from .signals import TICKET_SIZE, Signal

# What our client says behind its RTT echo. 0x80: no capability byte may look like a signal that v0.7.2 acts on.
HELLO = bytes([Signal.HELLO, 0x80])

_TO_CLIENT = frozenset({Signal.HEARTBEAT, Signal.CHANNEL, Signal.CLOSED, Signal.RTT})
_TO_SERVER = frozenset({Signal.HEARTBEAT, Signal.CLOSED, Signal.RTT})


class UnknownSignalError(ValueError):
    """The server sent a byte that means nothing to a client."""


def hello_answer(ticket: bytes) -> bytes:
    """Return the server's answer to a client's hello: from now on tunnel connections show `ticket`."""
    return HELLO + ticket


class ServerEar:
    """Reads what a client says on the control channel.

    A v0.7.2 server ignores every byte it does not know, so this one does too.
    """

    __slots__ = ("_hello_begun",)

    def __init__(self) -> None:
        self._hello_begun = False

    def feed(self, data: bytes) -> list[Signal]:
        """Return the signals in `data`; HELLO once its second byte has come."""
        heard = []
        for byte in data:
            if self._hello_begun:
                heard.append(Signal.HELLO)
                self._hello_begun = False
            elif byte == Signal.HELLO:
                self._hello_begun = True
            elif byte in _TO_SERVER:
                heard.append(Signal(byte))
        return heard


class ClientEar:
    """Reads what a server says on the control channel; `ticket` is set when the server is ours."""

    __slots__ = ("_hello", "ticket")

    def __init__(self) -> None:
        self._hello = bytearray()
        self.ticket = b""

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
        if len(self._hello) < len(HELLO) + TICKET_SIZE:
            return []
        self.ticket = bytes(self._hello[len(HELLO) :])
        self._hello.clear()
        return [Signal.HELLO]
