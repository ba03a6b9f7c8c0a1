"""Where a running program says how it is: a Unix socket that answers each connection with one document.

A socket of its own rather than the monitoring page: it is there without a page, needs neither a port nor a
password, and its mode decides who may ask.
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
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path("/run")

_PATTERNS: Final = ("backhaul/*.sock", "backhaul/*/*.sock", "user/*/backhaul/*.sock")
_PATIENCE: Final = 5.0  # seconds; a program that takes longer to answer hangs
_YOUTH: Final = 60.0  # seconds; between making a socket and listening on it lie microseconds, or a debugger
_LEAST_PATIENCE: Final = 0.001  # 0 would make the socket non-blocking
_MAX_DOCUMENT: Final = 64 << 20  # bytes; 65 535 ports are some 20 MB
_CREDENTIALS: Final = struct.Struct("3i")  # process, user, group
_STOPPING_PATIENCE: Final = 1.0  # seconds; a program that stops in order answers at once
_STEM_MAX: Final = 40  # characters: the whole path has to fit into the 108 bytes of sockaddr_un

_logger: Final = logging.getLogger(__name__)


def socket_path(config: str | os.PathLike[str]) -> Path | None:
    """Return where the program that runs this configuration file has its socket; None where it may have none.

    Under a service manager that is its RuntimeDirectory=, otherwise root's or the user's runtime directory.
    """
    folder = _manager_folder()
    if folder is None and os.geteuid() == 0:
        folder = ROOT / "backhaul"
    if folder is None and (own := os.environ.get("XDG_RUNTIME_DIR")):
        folder = Path(own, "backhaul")
    return folder / socket_name(config) if folder else None


def socket_name(config: str | os.PathLike[str]) -> str:
    """Return the file's own name, for people, and a hash of where it is, to tell it from others of that name.

    Symbolic links are not followed: they may lead elsewhere by the time somebody asks, as in a Kubernetes ConfigMap.
    """
    path = os.path.abspath(config)  # noqa: PTH100 - Path.absolute keeps ".."
    stem = re.sub(r"[^\w.-]", "_", Path(path).stem, flags=re.ASCII)[:_STEM_MAX]
    return f"{stem}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}.sock"


def sockets(root: Path = ROOT) -> list[Path]:
    """Return the sockets on this machine, those that killed programs left behind included.

    Those of other users may be missing: only root sees into every directory.
    """
    found = {path for pattern in _PATTERNS for path in root.glob(pattern)}
    if folder := _manager_folder():
        found.update(folder.glob("*.sock"))
    if own := os.environ.get("XDG_RUNTIME_DIR"):
        found.update(Path(own).glob("backhaul/*.sock"))
    return sorted(found)


def clear(path: Path, now: float) -> None:
    """Remove a socket that refused, unless a program that starts has made it just before `now` (seconds since 1970)."""
    with contextlib.suppress(OSError):
        if path.lstat().st_mtime < now - _YOUTH:
            path.unlink()


def ask(path: Path, patience: float = _PATIENCE) -> bytes:
    """Return the document, JSON, of the program behind a socket; `patience` in seconds for all of it.

    Any user may put a socket where root looks: it is asked only if the user who made the file is the one who
    listens, and neither time nor memory are theirs to take. Raises ConnectionRefusedError or FileNotFoundError when
    the program runs no more, PermissionError when it belongs to another user, TimeoutError when it hangs, and OSError
    otherwise.
    """
    end = time.monotonic() + patience
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(patience)
        sock.connect(str(path))
        if _owner(sock) != path.lstat().st_uid:
            raise PermissionError(errno.EPERM, "another user listens on it")
        return _receive(sock, end)


def _owner(sock: socket.socket) -> int:
    """Return the user who listens at the other end, unix(7)."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user


def _receive(sock: socket.socket, end: float) -> bytes:
    """Return all that comes before `end`, a moment of the monotonic clock."""
    document = bytearray()
    while piece := sock.recv(1 << 16):
        document += piece
        if len(document) > _MAX_DOCUMENT:
            raise OSError(errno.EMSGSIZE, "more than any status is")
        sock.settimeout(max(_LEAST_PATIENCE, end - time.monotonic()))
    return bytes(document)


def stopping(path: Path | None) -> bool:
    """Return whether a program that stops answers on `path`; one that takes longer than a second does not."""
    return path is not None and _document(path).get("stopping") is True


def take_turn(path: Path | None) -> socket.socket | None:
    """Return a socket that is to replace that of a program that stops on `path`; None where none stops.

    One program at a time may have it. Raises OSError, which is FileExistsError while another one has it.
    """
    if path is None or not stopping(path):
        return None
    draft = path.with_suffix(".new")
    try:
        sock = _bind(draft)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise FileExistsError(errno.EEXIST, "another process takes over from it already") from None
        raise
    if stopping(path):  # still: nobody has had his turn since
        return sock
    sock.close()
    draft.unlink(missing_ok=True)
    return None


def _document(path: Path) -> dict[str, object]:
    """Return what the program behind a socket says of itself, nothing if it takes longer than a second."""
    try:
        return msgspec.json.decode(ask(path, _STOPPING_PATIENCE), type=dict[str, object])
    except (OSError, msgspec.MsgspecError):
        return {}


class _Successor:
    """Tells whether another process has taken this one's place on a socket.

    It is one that runs the same file as the same user, and answers. A thread asks, for an answer may be late.
    """

    def __init__(self, path: Path, own: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._own = own
        self._asked: asyncio.Future[bool] | None = None

    def __call__(self) -> bool:
        """Return what is known by now."""
        if _inode(self._path) in {0, self._own}:
            return False
        if self._asked and self._asked.done():
            if self._asked.result():
                return True
            self._asked = None
        self._asked = self._asked or self._loop.run_in_executor(None, _follows, self._path)
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
    path: Path | None, read: Callable[[], object], turn: socket.socket | None = None
) -> AsyncIterator[Callable[[], bool]]:
    """Answer on `path` inside the block, to root and to the program's own user alone; None: don't.

    `read` is called in the event loop, once a connection, and returns what msgspec can write as JSON. Where the
    socket can't be made the program runs without it, and a debug line says why. With `turn`, from `take_turn`, it
    replaces the socket of a program that lives. The block gets a function that tells whether another program has
    replaced this one.
    """
    sock = _listen(path, turn) if path else None
    if not path or not sock:
        yield lambda: False
        return
    own = _inode(path)
    asking: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_unix_server(lambda: _Answer(read, asking), sock=sock)
    try:
        yield _Successor(path, own)
    finally:
        _close(server, asking)
        _remove(path, own)


def _remove(path: Path, own: int) -> None:
    if _inode(path) == own:
        path.unlink(missing_ok=True)


def _inode(path: Path) -> int:
    """Return the number of the file there, 0 if there is none."""
    try:
        return path.lstat().st_ino
    except OSError:
        return 0


class _Answer(asyncio.Protocol):
    """One connection: the document, then the end."""

    _transport: asyncio.Transport

    def __init__(self, read: Callable[[], object], asking: set[asyncio.Transport]) -> None:
        self._read = read
        self._asking = asking

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass, a cast would be as blind
        self._asking.add(self._transport)
        self._transport.write(msgspec.json.encode(self._read()))
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name that asyncio calls it by
        self._asking.discard(self._transport)


def _manager_folder() -> Path | None:
    folder = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # several are separated by colons
    return Path(folder) if folder else None


def _listen(path: Path, turn: socket.socket | None) -> socket.socket | None:
    """Return a socket bound to `path`, or None."""
    try:
        if not turn:
            path.parent.mkdir(exist_ok=True)
            return _bind(path)
        Path(turn.getsockname()).replace(path)
    except OSError as error:
        if turn:
            turn.close()
        _logger.debug("no status socket %s: %s", path, (error.strerror or str(error)).lower())
        return None
    return turn


def _bind(path: Path) -> socket.socket:
    """Return a listening socket; raises OSError."""
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(sock.fileno(), 0o600)  # before it is bound: on Linux its file gets this mode at once
        sock.bind(str(path))
        sock.listen()  # at once, and before it takes another name: nobody shall find it dead
    except OSError:
        sock.close()
        raise
    return sock


def _close(server: asyncio.AbstractServer, asking: set[asyncio.Transport]) -> None:
    server.close()
    for transport in asking:
        transport.abort()


def _remove_stale(path: Path) -> None:
    """Remove what a killed program left; the socket of a living one stays, and binding will fail."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(FileNotFoundError):
        probe.setblocking(False)  # a program with a full backlog lives
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:
            pass
