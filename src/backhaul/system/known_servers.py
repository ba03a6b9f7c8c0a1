"""The client's memory of servers that were protected once, which are never sent a bare token again."""

import errno
import logging
import re
from pathlib import Path
from typing import Final

from .shared_files import SharedFile, content

NAME: Final = "protected-servers"
MAX_LINES: Final = 10_000
MAX_SIZE: Final = 1 << 20  # bytes

_HEADER: Final = b"""\
# Servers that have proved that they know the token. The client sends them no bare token again, whatever answers in
# their place. Remove a line, or this file, to allow the way of v0.7.2 again; that needs no restart.
"""
_ADDRESS: Final = re.compile(r"\S+:\d{1,5}|_\S+")

_logger: Final = logging.getLogger(__name__)
_complaints: Final[dict[Path, set[str]]] = {}  # logged problems by file, which all ends of a process have in common


class KnownServers:
    """The servers in a file that an administrator may edit and that several clients may share.

    Addresses are ``host:port`` or ``_service._tcp.name``, in any case. If the file fails, a process logs this once, and
    its servers are remembered without the file. One that can't be read may hold any server, so all count as protected.
    """

    def __init__(self, folder: Path) -> None:
        """Use a file in ``folder``, which is made when there is something to remember."""
        self.file: Final = folder / NAME
        self._shared: Final = SharedFile(self.file, MAX_SIZE)
        self._stamp: tuple[int, ...] = ()
        self._saved: frozenset[str] = frozenset()
        self._unsaved: set[str] = set()
        self._unreadable = False

    def protected(self, address: str) -> bool:
        """Return whether the server at ``address`` was protected before."""
        try:
            self._refresh()
        except OSError as error:
            self._complain(f"cannot be read: {error.strerror}; correct that, or remove it to forget all servers")
        return self._unreadable or self._holds(address)

    def remember(self, address: str) -> bool:
        """Add the server at ``address``, and return whether the file holds it; this waits for the disk if it is new."""
        if self.protected(address) and self._holds(address) and not self._unsaved:
            return True
        self._unsaved.add(address.lower())
        try:
            self._save()
        except OSError as error:
            self._complain(
                f"cannot be written: {error.strerror}; {address} is remembered until this program ends; correct that, "
                "or set STATE_DIRECTORY to another directory"
            )
        return not self._unsaved

    def _refresh(self) -> None:
        """Read the file if it has changed."""
        stamp = _look(self.file)
        if stamp != self._stamp:
            self._stamp = stamp
            self._unreadable = bool(stamp)
            lines = self._lines() if stamp else []
            self._check(lines)
            self._saved = frozenset(filter(_ADDRESS.fullmatch, lines))
            self._unreadable = False

    def _holds(self, address: str) -> bool:
        return address.lower() in self._saved or address.lower() in self._unsaved

    def _lines(self) -> list[str]:
        return [line.strip().lower() for line in _content(self.file).decode(errors="replace").split("\n")]

    def _check(self, lines: list[str]) -> None:
        """Complain about lines without an address in a file that could be read, and forget its other problems."""
        problem, strays = "", [number for number, line in enumerate(lines, 1) if not _is_valid(line)]
        if strays:
            problem = f"{len(strays)} lines, the first is line {strays[0]}, are neither host:port nor a service"
            problem += "; correct or remove them"
        _complaints[self.file] = _complaints.get(self.file, set()) & {problem}
        if problem:
            self._complain(problem)

    def _save(self) -> None:
        self._shared.update(self._completed)
        self._refresh()
        self._unsaved.clear()

    def _completed(self, old: bytes) -> bytes:
        """Return the content with the servers that are missing in the file."""
        self._refresh()
        added = self._unsaved - self._saved
        return _extended(_bounded(old) if self._stamp else _HEADER, added) if added else old

    def _complain(self, problem: str) -> None:
        """Log a problem, unless it was logged since the file could be read without it."""
        logged = _complaints.setdefault(self.file, set())
        if problem not in logged:
            logged.add(problem)
            _logger.error("%s: %s", self.file, problem)


def _look(file: Path) -> tuple[int, ...]:
    """Return numbers that change with content, owner or mode of the file; none if there is no file."""
    try:
        found = file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return found.st_ctime_ns, found.st_size, found.st_ino


def _content(file: Path) -> bytes:
    """Return the content of a plain file of reasonable size; raise OSError for anything else."""
    return _bounded(content(file, MAX_SIZE))


def _bounded(lines: bytes) -> bytes:
    """Return ``lines``, or raise OSError if they are too long for a file of servers."""
    if len(lines) > MAX_SIZE or lines.count(b"\n") > MAX_LINES:
        raise OSError(errno.EFBIG, f"more than {MAX_LINES} lines or {MAX_SIZE} bytes")
    return lines


def _is_valid(line: str) -> bool:
    return not line or line.startswith("#") or _ADDRESS.fullmatch(line) is not None


def _extended(old: bytes, servers: set[str]) -> bytes:
    lines = [old.removesuffix(b"\n"), *(server.encode() for server in sorted(servers))]
    return _bounded(b"\n".join(lines) + b"\n")
