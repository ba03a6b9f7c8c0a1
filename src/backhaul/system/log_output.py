"""Standard output or standard error as a log, whose reader can't stop the program.

A write to a pipe that nobody reads, to a terminal after Ctrl-S, or to a journal that is stuck blocks. In the event loop
it would stop every user.
"""

import contextlib
import os
import select
import threading
from collections import deque
from typing import Final

from .journal import is_journal

MOST_WAITING: Final = 1 << 20
"""Bytes that wait for the reader; further lines are lost and counted."""
LAST_WRITE: Final = 1.0
"""Seconds that the reader has for the last lines, at the end of the program."""


class LogOutput:
    """Lines for a descriptor. Those that would have to wait are written by a thread, in order."""

    def __init__(self, descriptor: int, encoding: str, *, most_waiting: int = MOST_WAITING) -> None:
        """Raise OSError if the descriptor is closed; it stays open."""
        os.fstat(descriptor)
        self._descriptor = descriptor
        self._encoding = encoding
        self._most = most_waiting
        self._terminal = os.isatty(descriptor)
        self.for_journal: Final = is_journal(descriptor)
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()  # the thread removes a line when it is written
        self._size = 0
        self._lost = 0
        self._thread: threading.Thread | None = None

    def isatty(self) -> bool:
        """Return whether a terminal shows the lines."""
        return self._terminal

    def write(self, line: str) -> None:
        """Write a line, or let the thread do so; raise OSError if that is impossible."""
        data = line.encode(self._encoding, "backslashreplace")
        with self._lock:
            written = 0 if self._waiting or self._may_block(data) else self._write_some(data)
            if written < len(data):
                self._add(data[written:])

    def flush(self) -> None:
        """Do nothing: no line waits for others."""

    def take_lost(self) -> int:
        """Return how many lines were lost since the last call, or 0 as long as others wait."""
        with self._lock:
            if self._waiting:
                return 0
            lost, self._lost = self._lost, 0
            return lost

    def finish(self, timeout: float = LAST_WRITE) -> None:
        """Wait for the last lines, but no longer than ``timeout``."""
        with self._lock:
            if self._waiting and not self._thread:
                self._start()
        if thread := self._thread:
            thread.join(timeout)

    def _may_block(self, data: bytes) -> bool:
        """Return whether a write may have to wait.

        A pipe, or a socket, that is ready takes PIPE_BUF bytes. A terminal that is ready may take a single one.
        """
        return self._terminal or len(data) > select.PIPE_BUF or not self._is_ready(0)

    def _is_ready(self, milliseconds: int | None) -> bool:
        """Wait until a write is possible, or fails; return whether it is."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(milliseconds))

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # the starter of this program has made the descriptor non-blocking
            return 0

    def _add(self, data: bytes) -> None:
        if self._size + len(data) > self._most:
            self._lost += 1
            return
        self._waiting.append(data)
        self._size += len(data)
        if not self._thread:
            self._start()

    def _start(self) -> None:
        """Start the thread, or write here what does not block if it can't start; the rest waits for the next line."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            self._write_here()

    def _write_here(self) -> None:
        most = 1 if self._terminal else select.PIPE_BUF
        while self._waiting and self._is_ready(0):
            data = self._waiting[0]
            written = self._write_some(data[:most])
            self._size -= written
            self._waiting[0] = data[written:]
            if written == len(data):
                self._waiting.popleft()

    def _run(self) -> None:
        """Write until no line waits."""
        while self._thread:
            with contextlib.suppress(OSError, MemoryError):  # the next direct write meets the same error and raises it
                self._write_all(self._waiting[0])
            with self._lock:
                self._size -= len(self._waiting.popleft())
                if not self._waiting:
                    self._thread = None

    def _write_all(self, data: bytes) -> None:
        while data:
            self._is_ready(None)
            data = data[self._write_some(data) :]
