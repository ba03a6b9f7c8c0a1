"""Unix sockets with the interface of TCP sockets: listeners with a path, connections without an address."""

import contextlib
import errno
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from backhaul.addresses import LOCAL
from backhaul.wire.targets import MAX_PATH

from .sockets import BACKLOG

MODE: Final = 0o660
"""Mode of the file: for the user and the group of this program."""
NOWHERE: Final = (LOCAL, 0)
"""The address of a peer on a Unix socket, in the form of a TCP address."""
_CREDENTIALS: Final = struct.Struct("3i")  # process, user, group: struct ucred of unix(7)
_DRAFT: Final = "~"  # suffix of a socket that is going to replace another one


class WithoutTcp(socket.socket):
    """A Unix socket that ignores TCP options, and has addresses in the form of TCP addresses.

    Therefore the code for TCP connections needs no branches for Unix sockets.
    """

    def setsockopt(self, level: int, *rest: Any) -> None:  # noqa: ANN401 - as the socket module has it
        """Set an option, unless it is one of TCP."""
        if level != socket.IPPROTO_TCP:
            super().setsockopt(level, *rest)

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:  # noqa: ANN401 - as the socket module has it
        """Return an option; those of TCP are zero."""
        if level == socket.IPPROTO_TCP:
            return bytes(size) if size else 0
        return super().getsockopt(level, option, size)

    def getpeername(self) -> tuple[str, int]:
        """Return ``NOWHERE``."""
        return NOWHERE

    def getsockname(self) -> tuple[str, int]:
        """Return the path and 0."""
        return str(super().getsockname()), 0


class SocketFile(NamedTuple):
    """The file of a socket made by this program."""

    path: str
    device: int
    inode: int

    @classmethod
    def at(cls, path: str) -> Self:
        """Return the file at ``path``; raise OSError if it is not a socket."""
        found = Path(path).lstat()
        if not stat.S_ISSOCK(found.st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        return cls(path, found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Remove the file, unless another socket has replaced it."""
        with contextlib.suppress(OSError):
            if SocketFile.at(self.path) == self:
                Path(self.path).unlink()


class UnixListener(WithoutTcp):
    """A listening Unix socket; removes its file, if it has one of its own, when it is closed."""

    file: SocketFile | None = None

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """Return a connection, and ``NOWHERE``."""
        sock, _ = super().accept()
        return WithoutTcp(socket.AF_UNIX, socket.SOCK_STREAM, 0, sock.detach()), NOWHERE

    def shutdown(self, how: int) -> None:
        """Raise OSError, because the kernel would not let the socket listen again."""
        del how
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def close(self) -> None:
        """Remove the file, then close the socket, so that no user finds a file without a listener."""
        if self.file:
            self.file.remove()
            self.file = None
        super().close()

    @property
    def path(self) -> str:
        """The path of the socket; the kernel only knows the name at its bind(2)."""
        return self.file.path if self.file else self.getsockname()[0]


def listen_at(path: str, *, replacing: int = 0) -> UnixListener:
    """Return a socket listening on ``path``; raise OSError with the remedy if that fails.

    The socket of an ended program is replaced, and so is that of the process ``replacing``.
    """
    if replacing and listener_at(path) == replacing:
        return _replace(path)
    _clear(path)
    return _bind(path)


def _replace(path: str) -> UnixListener:
    """Replace the socket of another process in one step, so that no user is refused."""
    draft = os.fsdecode(os.fsencode(path)[: MAX_PATH - len(_DRAFT)]) + _DRAFT
    _clear(draft)
    listener = _bind(draft)
    try:
        Path(draft).replace(path)
        listener.file = SocketFile.at(path)
    except OSError:
        listener.close()
        raise
    return listener


def _bind(path: str) -> UnixListener:
    listener = UnixListener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        _bind_file(listener, path)
        listener.file = SocketFile.at(path)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _explained(error, path) from None
    return listener


def _bind_file(listener: UnixListener, path: str) -> None:
    """Bind the socket; its file has ``MODE`` from the beginning: on Linux the socket's mode, less the umask.

    A later chmod(2) by name would follow a link that the owner of the directory may have made in the meantime.
    """
    os.fchmod(listener.fileno(), MODE)
    umask = os.umask(~MODE & 0o777)
    try:
        listener.bind(path)
    finally:
        os.umask(umask)


def _clear(path: str) -> None:
    """Remove a socket without a listener; raise OSError if another file or a listener is there."""
    try:
        mode = Path(path).lstat().st_mode
    except OSError:  # no file, or bind(2) will report the reason
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "the file is no socket; remove it, or choose another path")
    if listener_at(path) is None:
        Path(path).unlink()
    else:
        raise OSError(errno.EADDRINUSE, "another program listens on it; stop it, or choose another path")


def listener_at(path: str) -> int | None:
    """Return the process that listens on ``path``, 0 if it cannot be determined, or None if there is none."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a program with a full queue is alive
        try:
            probe.connect(path)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:
            return 0
        process: int = _CREDENTIALS.unpack(credentials)[0]
        return process


def reaches_this_process(path: str) -> bool:
    """Return whether users of the path reach a socket of this process, as far as can be seen."""
    return listener_at(path) in {os.getpid(), 0}


def _explained(error: OSError, path: str) -> OSError:
    folder = Path(path).parent
    remedies = {
        errno.ENOENT: f"no directory {folder}; make it, or correct the path",
        errno.EACCES: f"directory {folder} is not writable; correct its permissions, or choose another directory",
        errno.EROFS: f"{folder} is read-only; choose another directory, or name it in ReadWritePaths= of the unit",
    }
    number = error.errno or 0
    return OSError(number, remedies.get(number, error.strerror))
