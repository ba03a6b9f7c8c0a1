"""Descriptors in reserve."""

import contextlib
import os
import resource
import socket
import sys
from typing import Final

_SHARE: Final = 8  # users leave this part of all descriptors,
_ENOUGH: Final = 64  # but no more than these


class SpareDescriptor:
    """A descriptor with which connections are closed when there is no other.

    All listeners of an end share it: a thousand ports need no thousand of them.
    """

    def __init__(self) -> None:
        self._descriptor = _open()

    @property
    def users_end(self) -> int:
        """The first number that no user gets, so that clients and administrators can connect when users fill the rest.

        The kernel always gives out the lowest free number (open(2)).
        """
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(limit // _SHARE, _ENOUGH)

    def turn_away(self, listener: socket.socket) -> bool:
        """Accept a connection and close it; return False if not even this descriptor is available."""
        if self._descriptor is None:
            self._descriptor = _open()
        if self._descriptor is None:
            return False
        os.close(self._descriptor)
        with contextlib.suppress(OSError):
            listener.accept()[0].close()
        self._descriptor = _open()
        return self._descriptor is not None

    def close(self) -> None:
        """Close it; may be called again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _open() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
