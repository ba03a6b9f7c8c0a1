"""The archive as a file: its index, its form, and its place on the disk."""

import contextlib
import io
import os
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from backhaul.errors import BackhaulError, reason
from backhaul.system.files import inherit

from .part import Made

INDEX: Final = "index.txt"
_MODE: Final = 0o600
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ENDINGS: Final = (".tar.gz", ".tgz")

_HEADER: Final = """\
Support archive of Backhaul {version}
file  {file}
made  {time}

No token, password or private key is in it. Names and addresses are: those of servers, clients and targets, and in
lines of the log those of single users. Read it before you pass it on.

"""


class NewFile:
    """A file that did not exist before. It is removed at the end of the block unless it has been filled."""

    def __init__(self, path: Path) -> None:
        """Make the file, for its owner alone; raise BackhaulError if it exists or can't be made."""
        self.path = path
        self._filled = False
        try:
            self._file = os.open(path, _NEW, _MODE)
        except FileExistsError:
            raise BackhaulError(f"{path} exists; name another file, or remove it") from None
        except (OSError, ValueError) as error:  # the latter for a NUL character
            raise self._unwritten(error) from None

    def fill(self, content: bytes) -> None:
        """Write the content; raise BackhaulError if there is no room for it."""
        try:
            with contextlib.suppress(OSError):  # FAT has no owners
                inherit(self._file, self.path.absolute().parent)
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            raise self._unwritten(error) from None
        self._filled = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._filled:
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def _unwritten(self, error: Exception) -> BackhaulError:
        return BackhaulError(f"cannot write {self.path}: {reason(error)}; name a file in another directory")


def index(file: str, version: str, now: float, made: Sequence[Made]) -> str:
    """Return the text that lists all parts, and gives the reason for each that is missing or cut."""
    clock = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    width = max(len(one.part.name) for one in made)
    lines = (f"{one.part.name.ljust(width)}  {_state(one)}\n" for one in made)
    return _HEADER.format(version=version, file=file, time=clock) + "".join(lines)


def pack(folder: str, files: Sequence[tuple[str, bytes]], now: float) -> bytes:
    """Return an archive with these files in one folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(now), _MODE
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def folder_of(path: Path) -> str:
    """Return the folder into which an archive is unpacked: its own name without the ending."""
    name = path.name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name.lstrip(".") or "backhaul"


def _state(one: Made) -> str:
    return "; ".join(_facts(one))


def _facts(one: Made) -> Iterator[str]:
    if one.missing:
        yield f"MISSING: {one.missing}"
        return
    yield one.part.meaning
    if one.cut:
        yield f"{one.cut} bytes more are left out"
