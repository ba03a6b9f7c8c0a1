"""The thread that writes the access log, so that no disk delays the tunnel."""

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

Report = Callable[[int, OSError | None], None]


class Sink(Protocol):
    """A place for lines; only the thread uses its methods."""

    @property
    def name(self) -> str:
        """The name of the place, for administrators."""

    def write(self, lines: bytes) -> None:
        """Write whole lines; raise OSError if that fails, after which any number of them is lost."""

    def reopen(self) -> None:
        """Reopen the place, because its name may lead elsewhere now."""

    def close(self) -> None:
        """Close it."""


class _Piece(NamedTuple):
    data: bytes
    lines: int


class Writer:
    """Writes to ``sink`` in a thread, which the first lines start. One other thread calls all methods."""

    def __init__(self, sink: Sink, report: Report) -> None:
        """Let the thread call ``report`` after each write, with the number of lines, and the error if it failed."""
        self._sink = sink
        self._report = report
        self._pieces: deque[_Piece] = deque()
        self._added = 0  # lines so far; each number has only one thread that changes it
        self._taken = 0  # lines so far that were written or lost
        self._wake = threading.Event()
        self._reopening = False
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """The number of lines that are not written yet."""
        return self._added - self._taken

    def add(self, data: bytes, lines: int) -> None:
        """Add lines, which are written at the next ``wake``."""
        self._added += lines
        self._pieces.append(_Piece(data, lines))

    def wake(self) -> None:
        """Write the waiting lines."""
        self._wake.set()
        self._start()

    def reopen(self) -> None:
        """Write the waiting lines, and reopen the sink."""
        self._reopening = True
        self.wake()

    def close(self, timeout: float) -> None:
        """Write the waiting lines, close the sink, and wait for that until ``timeout``, or without one for a thread."""
        self._closing = True
        self.wake()
        if self._thread:
            self._thread.join(timeout)
        else:
            self._run()

    def _start(self) -> None:
        """Start the thread, or report that it can't start; the lines wait for the next attempt."""
        if self._thread:
            return
        thread = threading.Thread(target=self._run, name="access log", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._report(0, OSError(errno.EAGAIN, str(error)))
        else:
            self._thread = thread

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            self._write()
            if self._reopening:
                self._reopening = False
                self._sink.reopen()
        self._write()
        self._sink.close()

    def _write(self) -> None:
        pieces = [self._pieces.popleft() for _ in range(len(self._pieces))]
        if not pieces:
            return
        lines = sum(piece.lines for piece in pieces)
        error = self._attempt(pieces)
        self._taken += lines
        self._report(lines, error)

    def _attempt(self, pieces: list[_Piece]) -> OSError | None:
        try:
            self._sink.write(b"".join(piece.data for piece in pieces))
        except OSError as error:
            return error
        except MemoryError:
            return OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return None
