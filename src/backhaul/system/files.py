"""Files written as a whole: a reader sees the old content or the new one, even after a crash."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tempfile import _TemporaryFileWrapper

_FOR_A_GROUP: Final = 0o750
"""The mode of a directory that root fills for a service, such as /etc/backhaul of Debian's package."""


def put(path: Path, content: bytes, mode: int, *, force: bool) -> None:
    """Write a file under its name at once; raise FileExistsError if there is one, unless ``force`` is set.

    A file that is replaced keeps its owner, and its mode unless all users have more rights than in ``mode``. A symbolic
    link stays, and the file that it names is replaced. A new file of root may be read by the group for which its
    directory was made, such as that of a service.
    """
    path = path.resolve()
    with _draft(path, content) as draft:
        _imitate(path, draft.fileno(), mode)
        # link(2) fails if the name exists, even if it was made just now.
        (os.replace if force else os.link)(draft.name, path)


def replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, in the place of any file or link of its name."""
    with _draft(path, content) as draft:
        inherit(draft.fileno(), path.parent)
        Path(draft.name).replace(path)


def inherit(descriptor: int, folder: Path) -> None:
    """Give a file to the owner of its folder, so that a service can use files that root has made by hand."""
    owner = folder.stat()
    if os.geteuid() == 0 != owner.st_uid:  # not among root's own files: a unit may forbid fchown(2)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a directory and those above it, unless it exists; raise NotADirectoryError if it is a file."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return values that change with the content of a file; none while it is missing, as an editor may replace it."""
    try:
        found = os.stat(path)  # noqa: PTH116 - once a second, a Path costs more than the call
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextlib.contextmanager
def _draft(path: Path, content: bytes) -> Iterator["_TemporaryFileWrapper[bytes]"]:
    """Yield a file with ``content`` and mode 0600 beside ``path``, to be renamed or linked."""
    with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent, delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _imitate(path: Path, descriptor: int, mode: int) -> None:
    try:
        old = path.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, mode | _shared(descriptor, path.parent))
    else:
        os.fchown(descriptor, old.st_uid, old.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode) & (mode | 0o770))


def _shared(descriptor: int, folder: Path) -> int:
    """Give a file of root to the group of its directory if others are kept out; return the rights of the group."""
    found = folder.stat()
    if os.geteuid() or not found.st_gid or stat.S_IMODE(found.st_mode) & 0o777 != _FOR_A_GROUP:
        return 0
    os.fchown(descriptor, -1, found.st_gid)
    return stat.S_IRGRP
