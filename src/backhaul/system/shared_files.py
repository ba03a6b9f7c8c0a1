"""Files of the state directory, which several processes and an administrator may change."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final


@contextlib.contextmanager
def locked(file: Path) -> Iterator[int]:
    """Keep other processes from writing, and yield the lock: a separate file, because the other one is replaced."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def content(file: Path, most: int) -> bytes:
    """Return the content of a plain file, cut after ``most`` bytes and one; raise OSError for anything else."""
    if not stat.S_ISREG(file.lstat().st_mode):
        raise OSError(errno.EINVAL, "not a plain file")
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:  # noqa: PTH123 - Path can't open a descriptor
        return opened.read(most + 1)


class SharedFile:
    """A small file that each process changes as a whole, after the others' changes."""

    def __init__(self, file: Path, most: int) -> None:
        """``most`` bytes are read of it."""
        self.file: Final = file
        self._most: Final = most

    def update(self, change: Callable[[bytes], bytes]) -> None:
        """Replace the content, which is empty without a file, by that of ``change``; raise OSError."""
        from .files import inherit, make_folder, replace  # noqa: PLC0415 - needed once a minute at most

        make_folder(self.file.parent, 0o700)
        with locked(self.file.with_name(f"{self.file.name}.lock")) as lock:
            inherit(lock, self.file.parent)
            old = self._content()
            if (new := change(old)) != old:
                replace(self.file, new)

    def _content(self) -> bytes:
        try:
            return content(self.file, self._most)
        except FileNotFoundError:
            return b""

    def __str__(self) -> str:
        return str(self.file)
