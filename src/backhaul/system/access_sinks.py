"""The places for the lines of the access log: a file, standard output, and the journal of systemd."""

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Final

from .access_writer import Sink

KEPT: Final = 5
"""Old files beside the present one."""
JOURNAL: Final = "/run/systemd/journal/socket"

_MEGABYTE: Final = 1 << 20


def make_sink(place: str, megabytes: int) -> Sink:
    """Return the sink for the value of ``access_log``."""
    if place == "stdout":
        return StdoutSink()
    return JournalSink() if place == "journal" else FileSink(place, megabytes * _MEGABYTE)


class FileSink:
    """A file, which is renamed when it is larger than ``limit`` bytes; with 0 it never is.

    It is opened when there are lines to write, and reopened when its name leads to another file or to none.
    """

    def __init__(self, path: str, limit: int, kept: int = KEPT) -> None:
        self.name = path
        self._path = Path(path)
        self._limit = limit
        self._kept = kept
        self._file = -1
        self._torn = False  # the file may end in the middle of a line

    def write(self, lines: bytes) -> None:
        """Append the lines; raise OSError if the file takes only a part of them."""
        self._open(len(lines))
        if self._torn:
            lines = b"\n" + lines
        self._torn = True
        _write_all(self._file, lines)
        self._torn = False

    def reopen(self) -> None:
        """Reopen the file before the next lines."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, -1
        if file >= 0:
            with contextlib.suppress(OSError):  # of an earlier write, on NFS; the descriptor is closed all the same
                os.close(file)

    def _open(self, more: int) -> None:
        if self._file >= 0 and not self._is_present():
            self.close()
        if self._file < 0:
            self._file = _open(self._path)
        size = os.fstat(self._file).st_size
        if self._limit and size and size + more > self._limit:
            self.close()
            self._rename()
            self._file = _open(self._path)
            size = 0
        self._torn = self._torn and size > 0

    def _is_present(self) -> bool:
        """Return whether the open file still has the name, which another process may have given to another one."""
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return False

    def _rename(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            old = Path(f"{self._path}.{number}")
            if old.exists():
                old.replace(f"{self._path}.{number + 1}")
        self._path.replace(f"{self._path}.1")


class StdoutSink:
    """Standard output, where the log of the program goes too."""

    name = "standard output"

    def write(self, lines: bytes) -> None:
        """Write the lines; raise OSError if they have no reader."""
        _write_all(sys.__stdout__.fileno() if sys.__stdout__ else -1, lines)

    def reopen(self) -> None:
        """Do nothing: standard output has no name."""

    def close(self) -> None:
        """Do nothing: standard output belongs to the program."""


class JournalSink:
    """The journal, in its own protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL."""

    name = "the journal of systemd"

    def __init__(self, path: str = JOURNAL) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def write(self, lines: bytes) -> None:
        """Send each line as the message of an entry; raise OSError if there is no journal."""
        for line in lines.splitlines():
            self._socket.sendto(b"PRIORITY=6\nSYSLOG_IDENTIFIER=backhaul-access\nMESSAGE=" + line + b"\n", self._path)

    def reopen(self) -> None:
        """Do nothing: each entry finds the journal by its name."""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _open(path: Path) -> int:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    os.set_blocking(file, True)  # only a FIFO without a reader is not waited for
    return file


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
