"""A user's connection on the public end, before it has a carrier."""

import socket
from dataclasses import dataclass
from typing import Final

from backhaul.net.poller import WOULD_BLOCK
from backhaul.relay.outcome import Done
from backhaul.relay.traffic import Traffic

# Bytes of a user that are read before there is a carrier. With target and PROXY header they make one record of TLS,
# which leaves whole or not at all. If a dead connection takes nothing, another one may send them.
_EARLY_SIZE: Final = 15 << 10


@dataclass(eq=False, slots=True)
class User:
    """A user's connection and its target; the holder of this object owns the socket."""

    sock: socket.socket
    target: str
    preface: bytes  # sent to the target before the user's bytes (PROXY protocol)
    traffic: Traffic
    done: Done  # called once when the user's connection has closed
    early: bytes = b""  # bytes that the user sent before a carrier was found
    reset: bool = False  # the user reset the connection before a carrier was found

    def take_early(self) -> None:
        """Read the bytes that have arrived, once, so that they can leave together with the announcement.

        The kernel reports a reset once only, and an orderly end after that: ``reset`` keeps it.
        """
        if self.early or self.reset:
            return
        try:
            self.early = self.sock.recv(_EARLY_SIZE)
        except WOULD_BLOCK:
            return
        except OSError:
            self.reset = True
