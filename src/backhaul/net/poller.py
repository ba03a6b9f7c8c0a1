"""The contract of pollers, which call the owners of sockets that are readable or writable."""

import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from .descriptors import Descriptors
from .lingering import Lingering
from .log_throttle import LogThrottle
from .narrow_path import NarrowPath
from .spare import SpareDescriptor

if TYPE_CHECKING:
    from .together import Together

FAULT: Final = "internal error in a connection handler; connection closed"
Callback = Callable[[], None]

# The exceptions of a non-blocking socket that would have to wait; those of TLS are no BlockingIOError.
WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

END_FOLLOWS = getattr(socket, "MSG_MORE", 0)
"""A flag of send(2): the bytes share a packet with the end of the stream, which the caller sends next."""


class Owner(Protocol):
    """The owner of a socket, which ends as a whole when one of its callbacks raises.

    A poller keeps the owner and no bound method: for each socket of an idle connection that is 64 bytes less.
    """

    def abort(self) -> None:
        """End with a reset, because the program has failed and the state is unknown."""


class Poller(Protocol):
    """A poller calls back when a socket is readable or writable. A callback may come without cause."""

    ending: bool
    """Within a callback: true if the peer has ended cleanly, so that the end may follow the bytes."""

    faults: LogThrottle
    """The log of unexpected exceptions, those of callbacks and of other handlers of connections."""

    spare: SpareDescriptor
    """A descriptor for the acceptors, until the poller is closed."""

    descriptors: Descriptors
    """The shares in the limit of open files."""

    narrow_path: NarrowPath
    """The detection of a path that drops large packets."""

    lingering: Lingering
    """The connections that are closed when their peers have ended, until the poller is closed."""

    together: "Together"
    """The sessions with frames that wait for the users served with theirs."""

    def guard(self, sock: socket.socket, owner: Owner) -> None:
        """Abort ``owner`` when a callback of ``sock`` raises; without an owner ``sock`` is reset.

        A later owner replaces this one, and forgetting the socket removes it.
        """

    def own(self, sock: socket.socket, readable: Callback, owner: Owner) -> None:
        """Combine ``guard`` and ``on_readable`` for a new owner of ``sock``."""

    def on_readable(self, sock: socket.socket, callback: Callback) -> None:
        """Call ``callback`` from now on whenever ``sock`` has bytes, has ended or is broken."""

    def on_writable(self, sock: socket.socket, callback: Callback) -> None:
        """Call ``callback`` from now on whenever ``sock`` accepts bytes or is broken."""

    def run(self, sock: socket.socket, callback: Callback) -> None:
        """Call ``callback`` under the socket's guard, unless it is closed: for timers and deferred work."""

    def ignore_readable(self, sock: socket.socket) -> None:
        """Stop the calls of ``on_readable``."""

    def ignore_writable(self, sock: socket.socket) -> None:
        """Stop the calls of ``on_writable``."""

    def on_reset(self, sock: socket.socket, callback: Callback) -> None:
        """Stop the calls of ``on_readable`` for a ``sock`` that has ended; call ``callback`` if it is reset later.

        Not every poller can do so; otherwise the next send fails.
        """

    def forget(self, sock: socket.socket) -> None:
        """Stop all calls; the socket stays open, with another owner."""

    def drop(self, sock: socket.socket) -> None:
        """Stop all calls; the caller must close the socket at once."""

    def close(self) -> None:
        """Release the poller's own resources."""
