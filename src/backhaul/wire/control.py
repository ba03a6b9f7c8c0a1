"""The bytes of a control channel on tcp, tcpmux and udp, as v0.7.2 sends them, without input or output."""

from backhaul.errors import TransportError

from .signals import Signal

_TO_CLIENT = frozenset({Signal.HEARTBEAT, Signal.CHANNEL, Signal.CLOSED, Signal.RTT})
_TO_SERVER = frozenset({Signal.HEARTBEAT, Signal.CLOSED, Signal.RTT})


class UnknownSignalError(TransportError):
    """The server sent a byte that is not a signal."""


class ServerControlDecoder:
    """Reads the bytes of a client on the control channel, and ignores those that it does not know, as v0.7.2 does."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[Signal]:
        """Return the signals in ``data``."""
        return [Signal(byte) for byte in data if byte in _TO_SERVER]


class ClientControlDecoder:
    """Reads the bytes of a server on the control channel."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[Signal]:
        """Return the signals in ``data``. Raises UnknownSignalError at a byte that no server sends."""
        for byte in data:
            if byte not in _TO_CLIENT:
                raise UnknownSignalError(f"unknown signal 0x{byte:02x}")
        return [Signal(byte) for byte in data]
