"""A pool of pipes for splice(2), lent while bytes are in flight and returned empty."""

import contextlib
import errno
import fcntl
import os
import socket
from typing import Final, NamedTuple

from .options import lacks

PIPE_SIZE = 1 << 20  # /proc/sys/fs/pipe-max-size: the most that an unprivileged user may request
# Above fs.pipe-user-pages-soft (64 pipes of 1 MiB) an unprivileged user's new pipes have only two pages. Splicing
# through those costs more than copying.
MIN_USEFUL_SIZE = 1 << 16
MAX_IDLE = 16  # pipes kept for reuse: a new one costs three system calls
MAX_LENT = 48  # together with the idle ones at most the 64 of the soft limit
SPLICE_FLAGS: Final = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class Pipe(NamedTuple):
    """Both ends of a pipe, as file descriptors."""

    reader: int
    writer: int


class PipePool:
    """Lends pipes to relays that move bulk data; owns their descriptors until they are lent."""

    def __init__(self, *, max_lent: int = MAX_LENT, max_idle: int = MAX_IDLE) -> None:
        self._idle: list[Pipe] = []
        self.max_lent = max_lent
        self._max_idle = max_idle
        self.lent = 0

    def take(self) -> Pipe | None:
        """Lend an empty pipe, or return None if none is available and the caller should copy instead."""
        if self.lent >= self.max_lent:
            return None
        pipe = self._idle.pop() if self._idle else self._make()
        if pipe:
            self.lent += 1
        return pipe

    def fill(self, pipe: Pipe, sock: socket.socket, most: int) -> int:
        """Move up to ``most`` bytes of ``sock`` into ``pipe``; return their number, 0 at the end of the stream.

        Raises OSError: BlockingIOError if there are no bytes, or none that the kernel can splice. If it can't splice at
        all, the pool lends no more pipes, so that everything is copied.
        """
        try:
            return os.splice(sock.fileno(), pipe.writer, most, flags=SPLICE_FLAGS)
        except OSError as error:
            if not lacks(error):
                raise
            self.max_lent = 0
            raise BlockingIOError(errno.EAGAIN, "the kernel can't splice") from error

    def give(self, pipe: Pipe) -> None:
        """Take back an empty pipe."""
        self.lent -= 1
        if len(self._idle) < self._max_idle:
            self._idle.append(pipe)
        else:
            _close(pipe)

    def discard(self, pipe: Pipe) -> None:
        """Take back a pipe that still holds unwanted bytes."""
        self.lent -= 1
        _close(pipe)

    def close(self) -> None:
        """Close the idle pipes; lent ones are closed when they are returned."""
        self._max_idle = 0
        while self._idle:
            _close(self._idle.pop())

    def _make(self) -> Pipe | None:
        try:
            pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:  # out of descriptors: the bytes can still be copied
            return None
        if _grow(pipe) >= MIN_USEFUL_SIZE:
            return pipe
        _close(pipe)
        self.max_lent = self.lent  # the kernel's limit is reached: asking at every wake-up would be useless
        return None


def _grow(pipe: Pipe) -> int:
    with contextlib.suppress(OSError):  # EPERM above the user's limit: the present size may suffice
        fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return fcntl.fcntl(pipe.writer, fcntl.F_GETPIPE_SZ)


def _close(pipe: Pipe) -> None:
    os.close(pipe.reader)
    os.close(pipe.writer)
