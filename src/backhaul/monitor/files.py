"""Small files that are read and written whole, and are never half written."""

import contextlib
import errno
import os
import stat
import tempfile
from itertools import count
from pathlib import Path

_NO_EXCHANGE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})


def read(path: Path, most: int) -> bytes:
    """Return the content; raises ValueError if it is more than `most` bytes, OSError if it can't be read."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")  # never to be renamed: it may be /dev/null
    if status.st_size > most:
        raise ValueError("is too large")
    return path.read_bytes()


def replace(path: Path, content: bytes) -> None:
    """Put `content` in place of the file at once, with its mode and owner; raises OSError, the old file stays then.

    A symbolic link stays one. Where the directory can't be written, or the file is a mount of its own (a container's),
    the file itself is written: a power cut may then leave it in pieces.
    """
    path = path.resolve()
    try:
        _exchange(path, content)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE or not path.is_file():
            raise
        path.write_bytes(content)


def _exchange(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - Path can't open a descriptor
            _imitate(path, descriptor)
            file.write(content)
            file.flush()
            os.fsync(descriptor)  # or a power cut could leave the new name on an empty file
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def set_aside(path: Path) -> Path:
    """Rename to the first free of `<name>.broken-1`, `-2`, …; returns the new path, raises OSError."""
    names = (path.with_name(f"{path.name}.broken-{number}") for number in count(1))
    aside = next(name for name in names if not os.path.lexists(name))
    return path.rename(aside)


def reason(error: OSError) -> str:
    """Return the error in words, without the path."""
    return (error.strerror or str(error)).lower()


def _imitate(path: Path, descriptor: int) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)  # as v0.7.2 makes it; anyone may read how much a port carried
        return
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    with contextlib.suppress(PermissionError):  # only root may give a file away
        os.fchown(descriptor, status.st_uid, status.st_gid)
