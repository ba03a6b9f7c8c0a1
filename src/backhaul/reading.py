"""Files that an administrator names, where a FIFO, a device or a huge file may stand by mistake."""

import errno
import os
import select
import stat
from collections.abc import Callable
from typing import Final

MOST: Final = 16 << 20
"""Bytes of a configuration, a list of networks, or a file of certificates: far more than any of them needs."""
PATIENCE: Final = 5.0
"""Seconds without a byte from a pipe, after which its writer is not waited for."""

_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # the second for a FIFO without a writer
_PIECE: Final = 1 << 16


def read_file(path: str | os.PathLike[str], most: int = MOST) -> bytes:
    """Return the content of a file, cut after ``most`` bytes and one; raise OSError, also for one that never ends."""
    return _content(path, most, _refuse)


def read_file_or_pipe(path: str | os.PathLike[str], most: int = MOST, patience: float = PATIENCE) -> bytes:
    """Return the content like ``read_file``, also of a pipe, such as ``<(command)`` of a shell."""
    return _content(path, most, lambda descriptor: _await(descriptor, patience))


def decoded(data: bytes) -> str:
    """Return a text in UTF-8 with one kind of line end, without a byte order mark, which some editors write first."""
    return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def require_file(path: str | os.PathLike[str], most: int = MOST) -> None:
    """Raise OSError unless a library may read the whole file, which must be a plain one of at most ``most`` bytes."""
    read_file(path, 0)
    found = os.stat(path)  # noqa: PTH116 - takes whatever Path takes
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a plain file")
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"larger than {most >> 20} MB")


def _content(path: str | os.PathLike[str], most: int, await_pipe: Callable[[int], None]) -> bytes:
    descriptor = os.open(path, _FLAGS)
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        data = bytearray()
        while len(data) <= most:
            if is_pipe:
                await_pipe(descriptor)
            if not (piece := os.read(descriptor, min(_PIECE, most + 1 - len(data)))):
                break
            data += piece
        return bytes(data)
    finally:
        os.close(descriptor)


def _refuse(_: int) -> None:
    raise OSError(errno.EINVAL, "a pipe, not a file")


def _await(descriptor: int, patience: float) -> None:
    """Wait for bytes of a pipe or for its end; raise OSError if neither comes."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(patience * 1000):
        raise OSError(errno.ETIMEDOUT, f"a pipe into which nothing is written for {patience:g} seconds")
