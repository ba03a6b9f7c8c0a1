"""A descriptor in reserve, with which connections are closed when there is no other."""

import contextlib
import os
import socket

from .descriptors import open_any


class SpareDescriptor:
    """A descriptor that all listeners of an end share, so that a thousand ports do not hold one each."""

    def __init__(self) -> None:
        self._descriptor = _open()

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
        return open_any()
    except OSError:
        return None
