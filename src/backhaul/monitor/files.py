"""Small files, read and replaced as a whole.

The last part of a path is opened without following symbolic links, relative to its directory. A link there is
followed only if root or the program's own user made it. Otherwise another user with write access to the directory could
point the program at any file of its user. The kernel's ``fs.protected_symlinks`` has the same rule for sticky
directories only, and a path resolved here would bypass it.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

_NO_EXCHANGE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})
_MOST_LINKS: Final = 8
_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # the last for a FIFO, which would wait for its other end
# A directory that may be entered need not be readable (mode 0711).
_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_MODE: Final = 0o644  # as v0.7.2 makes it; every user may read the traffic of a port


def read(path: Path, most: int) -> bytes:
    """Return the content; raise ValueError if it exceeds ``most`` bytes, OSError if it cannot be read."""
    with _place(path) as place, os.fdopen(place.open(os.O_RDONLY), "rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ValueError("is too large")
        return file.read(most)


def replace(path: Path, content: bytes) -> None:
    """Replace the file atomically, keeping mode and owner; raise OSError and keep the old file if that fails.

    A symbolic link stays one. If the directory is not writable, or the file is a mount point (in a container), the file
    itself is written, and a power failure may leave it incomplete.
    """
    with _place(path) as place:
        try:
            place.exchange(content)
        except OSError as error:
            if error.errno not in _NO_EXCHANGE or not place.exists():
                raise
            place.overwrite(content)


def set_aside(path: Path) -> Path:
    """Rename to the first free of ``<name>.broken-1``, ``-2``, …; return the new path, or raise OSError."""
    names = (path.with_name(f"{path.name}.broken-{number}") for number in count(1))
    aside = next(name for name in names if not os.path.lexists(name))
    return path.rename(aside)


class _Place(NamedTuple):
    """A name in an open directory."""

    folder: int
    name: str

    def open(self, flags: int) -> int:
        """Return a descriptor of this regular file; raise OSError if that fails."""
        descriptor = os.open(self.name, flags | _OPEN, dir_fd=self.folder)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")  # never to be renamed: it may be /dev/null

    def exchange(self, content: bytes) -> None:
        """Put a new file in place of the old one."""
        new = f".{self.name}.{secrets.token_hex(4)}"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600, dir_fd=self.folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                self._imitate(descriptor)
                file.write(content)
                file.flush()
                os.fsync(descriptor)  # otherwise a power failure could leave an empty file under the name
            os.rename(new, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=self.folder)
            raise

    def overwrite(self, content: bytes) -> None:
        """Write into the existing file."""
        with os.fdopen(self.open(os.O_WRONLY), "wb") as file:
            file.truncate(0)
            file.write(content)

    def exists(self) -> bool:
        """Return whether there is a file of this name."""
        with contextlib.suppress(FileNotFoundError):
            return bool(self.status())
        return False

    def status(self) -> os.stat_result:
        """Return the status of the name without following a link; raise OSError if that fails."""
        return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)

    def _imitate(self, descriptor: int) -> None:
        try:
            status = self.status()
        except FileNotFoundError:
            os.fchmod(descriptor, _NEW_MODE)
            return
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        with contextlib.suppress(PermissionError):  # only root may give a file away
            os.fchown(descriptor, status.st_uid, status.st_gid)


@contextlib.contextmanager
def _place(path: Path) -> Iterator[_Place]:
    """Yield the place of ``path``, with permitted links in its last part followed; raise OSError if that fails."""
    for _ in range(_MOST_LINKS):
        folder = os.open(path.parent, _FOLDER)
        try:
            place = _Place(folder, path.name)
            if not _is_link(place):
                yield place
                return
            path = path.parent / os.readlink(path.name, dir_fd=folder)
        finally:
            os.close(folder)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_link(place: _Place) -> bool:
    """Return whether the name is a link to follow; raise OSError for a link made by another user."""
    try:
        status = place.status()
    except FileNotFoundError:
        return False
    if not stat.S_ISLNK(status.st_mode):
        return False
    if status.st_uid not in {0, os.geteuid()}:
        raise OSError(errno.ELOOP, "a symbolic link that another user made; name the file itself")
    return True
