"""The status socket of a running program: a Unix socket that speaks HTTP.

Unlike the monitoring page it always exists, and it needs neither a port nor a password: access depends on its mode.
"""

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import re
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from backhaul.errors import UNREADABLE, BackhaulError, reason
from backhaul.threads import in_thread

from .calls import ask

ROOT: Final = Path("/run")

_PATTERNS: Final = ("backhaul/*.sock", "backhaul/*/*.sock", "user/*/backhaul/*.sock")
_YOUTH: Final = 60.0  # seconds; bind(2) and listen(2) are microseconds apart, unless a debugger stops the program
_STOPPING_PATIENCE: Final = 1.0  # seconds; a program that stops regularly answers at once
_STEM_MAX: Final = 40  # characters: the whole path has to fit into the 108 bytes of sockaddr_un
_UNREACHABLE: Final = "`backhaul status`, `reload` and others do not reach this program"

_logger: Final = logging.getLogger(__name__)


class Door(Protocol):
    """An HTTP server."""

    async def serve(self, sock: socket.socket) -> None:
        """Begin to answer on a listening socket, which it owns from now on."""

    async def stop(self) -> None:
        """Close the socket and all connections."""


def socket_path(config: str | os.PathLike[str]) -> Path | None:
    """Return the path of the socket for this configuration file, or None if no directory is available.

    The directory is RuntimeDirectory= under a service manager, otherwise the runtime directory of root or the user.
    """
    folder = _manager_folder()
    if folder is None and os.geteuid() == 0:
        folder = ROOT / "backhaul"
    if folder is None and (own := os.environ.get("XDG_RUNTIME_DIR")):
        folder = Path(own, "backhaul")
    return folder / socket_name(config) if folder else None


def socket_name(config: str | os.PathLike[str]) -> str:
    """Return a name made of the file's name, for people, and a hash of its path, which makes it unique.

    Symbolic links are not followed: their targets may change while the program runs, as in a Kubernetes ConfigMap.
    """
    path = os.path.abspath(config)  # noqa: PTH100 - Path.absolute keeps ".."
    stem = re.sub(r"[^\w.-]", "_", Path(path).stem, flags=re.ASCII)[:_STEM_MAX]
    return f"{stem}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}.sock"


def sockets(root: Path = ROOT) -> list[Path]:
    """Return the sockets on this machine, including those of killed programs.

    Those of other users may be missing: only root can read every directory.
    """
    found = {path for pattern in _PATTERNS for path in root.glob(pattern)}
    if folder := _manager_folder():
        found.update(folder.glob("*.sock"))
    if own := os.environ.get("XDG_RUNTIME_DIR"):
        found.update(Path(own).glob("backhaul/*.sock"))
    return sorted(found)


def clear(path: Path, now: float) -> None:
    """Remove a socket that refused, unless a starting program made it just before ``now`` (seconds since 1970)."""
    with contextlib.suppress(OSError):
        if path.lstat().st_mtime < now - _YOUTH:
            path.unlink()


def stopping(path: Path | None) -> bool:
    """Return whether a stopping program answers on ``path`` within a second."""
    return path is not None and _document(path).get("stopping") is True


def take_turn(path: Path | None) -> socket.socket | None:
    """Return a socket to replace that of a stopping program on ``path``, or None if none is stopping.

    One process at a time may hold it. Raises FileExistsError while another process holds it, or another OSError.
    """
    if path is None or not stopping(path):
        return None
    draft = path.with_suffix(".new")
    try:
        sock = _bind(draft)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise FileExistsError(errno.EEXIST, "another process is already taking over") from None
        raise
    if stopping(path):  # checked again: another process may have replaced it in the meantime
        return sock
    sock.close()
    draft.unlink(missing_ok=True)
    return None


def _document(path: Path) -> dict[str, object]:
    """Return the document of the program behind a socket; empty if there is no answer within a second."""
    try:
        return msgspec.json.decode(ask(path, patience=_STOPPING_PATIENCE), type=dict[str, object])
    except (OSError, BackhaulError, *UNREADABLE):
        return {}


class _Successor:
    """A check whether another process has replaced this one on a socket.

    A successor runs the same file as the same user, and answers. A thread asks, because the answer may be late.
    """

    def __init__(self, path: Path, own: int) -> None:
        self._path = path
        self._own = own
        self._asked: asyncio.Future[bool] | None = None

    def __call__(self) -> bool:
        """Return whether a successor is known by now."""
        if _inode(self._path) in {0, self._own}:
            return False
        if self._asked and self._asked.done():
            if self._asked.result():
                return True
            self._asked = None
        self._asked = self._asked or asyncio.ensure_future(self._follows())
        return False

    async def _follows(self) -> bool:
        try:
            return await in_thread(_follows, self._path)
        except OSError:  # there is no thread now
            return False


def _follows(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        return False
    document = _document(path)
    return document.get("stopping") is not True and socket_name(str(document.get("config"))) == path.name


@contextlib.asynccontextmanager
async def serving(
    path: Path | None, door: Door, turn: socket.socket | None = None
) -> AsyncIterator[Callable[[], bool]]:
    """Let ``door`` serve root and the program's own user on ``path`` inside the block; with None only log that.

    If the socket cannot be made the program runs without it, and a warning gives the reason. A socket ``turn`` from
    ``take_turn`` replaces that of a running program. Yields a function that returns whether another process has
    replaced this one.
    """
    if not path:
        _logger.info("no status socket: RUNTIME_DIRECTORY and XDG_RUNTIME_DIR are not set; %s", _UNREACHABLE)
    sock = _listen(path, turn) if path else None
    if not path or not sock:
        yield lambda: False
        return
    own = _inode(path)
    try:
        await door.serve(sock)
    except OSError as error:
        _complain(path, error)
    try:
        yield _Successor(path, own)
    finally:
        _remove(path, own)
        await door.stop()


def _remove(path: Path, own: int) -> None:
    if _inode(path) == own:
        path.unlink(missing_ok=True)


def _inode(path: Path) -> int:
    """Return the inode number of the file, or 0 if there is none."""
    try:
        return path.lstat().st_ino
    except OSError:
        return 0


def _manager_folder() -> Path | None:
    folder = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # colons separate several directories
    return Path(folder) if folder else None


def _complain(path: Path, error: OSError) -> None:
    remedies = {
        errno.EADDRINUSE: "another process runs the same file",
        errno.EMFILE: "raise the limit of open files (LimitNOFILE)",
    }
    remedy = remedies.get(error.errno or 0, "set RuntimeDirectory=backhaul in the unit, or RUNTIME_DIRECTORY")
    _logger.warning("status socket %s: not available: %s; %s: %s", path, reason(error), _UNREACHABLE, remedy)


def _listen(path: Path, turn: socket.socket | None) -> socket.socket | None:
    """Return a socket bound to ``path``, or None."""
    try:
        if not turn:
            path.parent.mkdir(exist_ok=True)
            return _bind(path)
        Path(turn.getsockname()).replace(path)
    except OSError as error:
        if turn:
            turn.close()
        _complain(path, error)
        return None
    return turn


def _bind(path: Path) -> socket.socket:
    """Return a listening socket; raise OSError if there is none."""
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(sock.fileno(), 0o600)  # before bind(2): on Linux the file has this mode from the beginning
        sock.bind(str(path))
        sock.listen()  # before the file gets its final name, where nothing may find it refusing
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    """Remove the socket of a killed program; that of a running one stays, and binding fails."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(FileNotFoundError):
        probe.setblocking(False)  # a program with a full backlog is alive
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:
            pass
