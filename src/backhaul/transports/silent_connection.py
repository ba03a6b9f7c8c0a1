"""A tunnel connection on which nothing has been asked for yet: watched for the first word, or for its end."""

import socket
from abc import ABC, abstractmethod

from backhaul.relay.pair import Relay
from backhaul.relay.poller import WOULD_BLOCK, release

_READ_SIZE = 1 << 14


class SilentConnection(ABC):
    """Owns the connection until a subclass hands it on. `ours`: whether the other end is one of ours."""

    __slots__ = ("_ours", "_relay", "_sock")

    def __init__(self, relay: Relay, sock: socket.socket, *, ours: bool) -> None:
        self._relay = relay
        self._sock = sock
        self._ours = ours
        relay.poller.on_readable(sock, self._readable)

    @abstractmethod
    def _hear(self, data: bytes) -> None:
        """The other end has said something."""

    @abstractmethod
    def _gone(self) -> None:
        """The connection was closed, by whichever end: tell the owner."""

    def close(self) -> None:
        """Close the connection."""
        release(self._relay.poller, self._sock)

    def _say(self, data: bytes) -> bool:
        """Send: an empty send buffer takes more than this, unless the connection is dying; it is closed then."""
        try:
            if self._sock.send(data) == len(data):
                return True
        except OSError:
            pass
        self.close()
        return False

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_SIZE)
        except WOULD_BLOCK:
            return
        except OSError:
            data = b""
        if data:
            self._hear(data)
        else:
            self._give_up()

    def _give_up(self) -> None:
        self.close()
        self._gone()
