"""The file with the numbers of the last day: a ring of minutes for the whole program, and for each of some ports.

Its size is fixed. A head names the format; a table names the series and the last minute of each; then each series has a
record for every minute of a day. A record names its minute, so that one of the day before is not taken for it.
"""

import contextlib
import errno
import fcntl
import os
import stat
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from backhaul.system.files import inherit, make_folder

from .samples import Sample

MINUTES: Final = 1440
SERIES: Final = 64
_HEAD: Final = b"Backhaul history 1, 64 series of 1440 minutes\n".ljust(64, b"\0")
_ENTRY: Final = struct.Struct("<I124s")  # last minute, name
_RECORD: Final = struct.Struct("<IIIIIxxxxQQ")
_TABLE_AT: Final = len(_HEAD)
_RECORDS_AT: Final = _TABLE_AT + SERIES * _ENTRY.size
_SERIES_SIZE: Final = MINUTES * _RECORD.size
SIZE: Final = _RECORDS_AT + SERIES * _SERIES_SIZE
"""Bytes, of which unused series take none of the disk."""
_MOST: Final = 2**32 - 1


class HistoryFile:
    """An open file; each call may run in a thread, even after the file is closed, and raise OSError."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make one; raise OSError."""
        self.renewed = False
        """True if a broken file was replaced."""
        self._busy = threading.Lock()  # flock(2) excludes other processes, but no threads of this one
        make_folder(path.parent, 0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        try:
            inherit(self._file, path.parent)
            self._prepare()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._busy:
            os.close(self._file)
            self._file = -1  # its number may soon be that of another file

    def add(self, samples: Mapping[str, Sample]) -> None:
        """Add samples of one minute by the name of their series; the series beyond those that fit are left out.

        Other processes may add to the same file.
        """
        samples = {_key(name): sample for name, sample in samples.items()}
        with self._locked():
            table = self._table()
            for name, sample in samples.items():
                if (slot := _slot(table, name, samples)) >= 0:
                    if table[slot][1] != name:
                        os.pwrite(self._file, bytes(_SERIES_SIZE), _RECORDS_AT + slot * _SERIES_SIZE)
                    table[slot] = sample.minute, name
                    self._put(slot, sample)
            os.pwrite(self._file, b"".join(_ENTRY.pack(last, name.encode()) for last, name in table), _TABLE_AT)

    def names(self, now: int) -> list[str]:
        """Return the series with samples of the day up to the minute ``now``."""
        return [name for last, name in self._table() if now - MINUTES < last]

    def read(self, name: str, now: int) -> list[Sample]:
        """Return the samples of a series of the day up to the minute ``now``."""
        slot = next((slot for slot, (last, known) in enumerate(self._table()) if last and known == _key(name)), -1)
        if slot < 0:
            return []
        content = os.pread(self._file, _SERIES_SIZE, _RECORDS_AT + slot * _SERIES_SIZE)
        samples = (Sample(*fields) for fields in _RECORD.iter_unpack(content))
        return sorted(sample for sample in samples if now - MINUTES < sample.minute <= now)

    def _prepare(self) -> None:
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        with self._locked():
            if os.fstat(self._file).st_size == SIZE and os.pread(self._file, len(_HEAD), 0) == _HEAD:
                return
            self.renewed = found.st_size > 0
            os.ftruncate(self._file, 0)
            os.ftruncate(self._file, SIZE)
            os.pwrite(self._file, _HEAD, 0)

    def _table(self) -> list[tuple[int, str]]:
        content = os.pread(self._file, SERIES * _ENTRY.size, _TABLE_AT)
        return [(last, name.rstrip(b"\0").decode(errors="ignore")) for last, name in _ENTRY.iter_unpack(content)]

    def _put(self, slot: int, sample: Sample) -> None:
        place = _RECORDS_AT + slot * _SERIES_SIZE + sample.minute % MINUTES * _RECORD.size
        earlier = Sample(*_RECORD.unpack(os.pread(self._file, _RECORD.size, place)))
        whole = sample.after(earlier) if earlier.minute == sample.minute else sample
        os.pwrite(self._file, _RECORD.pack(*(min(value, _MOST) for value in whole[:5]), *whole[5:]), place)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._busy:
            if self._file < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)


def _key(name: str) -> str:
    """Return a name, cut to the size that the table holds."""
    return name.encode()[: _ENTRY.size - 4].decode(errors="ignore")


def _slot(table: list[tuple[int, str]], name: str, wanted: Mapping[str, Sample]) -> int:
    """Return the place of a series: its own, or that of the one missing for longest; -1 if all are in use."""
    for slot, (last, known) in enumerate(table):
        if last and known == name:
            return slot
    free = [slot for slot, (last, known) in enumerate(table) if not last or known not in wanted]
    return min(free, key=lambda slot: table[slot][0], default=-1)
