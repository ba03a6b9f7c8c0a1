"""A poller whose kernel lacks the memory to watch another socket."""

import errno
import os
import socket
from collections.abc import Callable

from backhaul.net.poller import Callback, Owner
from backhaul.net.pollers import EpollPoller


class ExhaustedPoller(EpollPoller):
    """Watches no other socket while ``short`` returns true of its owner, as epoll_ctl(2) can't."""

    def __init__(self, short: Callable[[Owner | None], bool] = lambda _owner: True) -> None:
        super().__init__()
        self.short = short
        self.refused = 0

    def own(self, sock: socket.socket, readable: Callback, owner: Owner) -> None:
        """See Poller. Raises OSError."""
        self._check(owner)
        super().own(sock, readable, owner)

    def on_readable(self, sock: socket.socket, callback: Callback) -> None:
        """See Poller. Raises OSError."""
        self._check(None)
        super().on_readable(sock, callback)

    def on_writable(self, sock: socket.socket, callback: Callback) -> None:
        """See Poller. Raises OSError."""
        self._check(None)
        super().on_writable(sock, callback)

    def _check(self, owner: Owner | None) -> None:
        if self.short(owner):
            self.refused += 1
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
