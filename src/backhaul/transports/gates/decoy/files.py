"""The files of a directory, as nginx serves them with ``root`` and ``index index.html``.

Names that begin with a dot get a 404. Everything that may wait for a disk happens in a thread. Symbolic links that lead
out of the directory do not exist for visitors.
"""

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar
from urllib.parse import quote

from backhaul.errors import BackhaulError, out_of_memory

from .conditions import Resource, answer_with
from .mime import content_type
from .nginx import LOAD_SIZE, Answer, page

if TYPE_CHECKING:
    from .exchange import Exchange

_METHODS: Final = frozenset({"GET", "HEAD", "POST"})
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_SAFE: Final = "/:@!$&'()*+,;="  # in a path, in addition to letters and digits
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})

Args = ParamSpec("Args")
Result = TypeVar("Result")


class _Folder:
    """A directory whose name was requested without a slash."""


class _RefusedError(BackhaulError):
    """There is no such file for visitors."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class OpenFile:
    """A file that is being sent."""

    def __init__(self, directory: "Directory", fd: int, status: os.stat_result) -> None:
        self._directory = directory
        self.fd = fd
        self.size = status.st_size
        self.modified = int(status.st_mtime)

    async def read(self, start: int, size: int) -> bytes:
        """Return a part of the file. Raises OSError, also if the file has become shorter."""
        data = await self._directory.in_thread(os.pread, self.fd, size, start)
        if len(data) < size:
            raise OSError("the file has become shorter")
        return data

    async def load(self, start: int, size: int) -> None:
        """Let the system read a part of at most ``LOAD_SIZE`` bytes into its memory."""
        await self._directory.in_thread(self._directory.load, self.fd, size, start)

    def close(self) -> None:
        """Close the file when the thread has done its work."""
        self._directory.submit_close(self.fd)


class Directory:
    """A website of files."""

    def __init__(self, root: str) -> None:
        self._root = Path(root).resolve()
        self._thread = ThreadPoolExecutor(1, "decoy")
        self._scratch = bytearray(0)

    async def serve(self, exchange: "Exchange") -> bool:
        """Answer with a file, or with nginx's page for its status."""
        answer = await self._answer(exchange)
        try:
            return await exchange.reply(answer)
        finally:
            if answer.file:
                answer.file.close()

    async def _answer(self, exchange: "Exchange") -> Answer:
        head = exchange.head
        if "/." in head.path:
            return page(404, head)
        if head.method not in _METHODS:
            return page(405, head)
        try:
            found = await self._look_for(head.path)
        except _RefusedError as refusal:
            return page(refusal.status, head)
        if isinstance(found, _Folder):
            path = quote(head.path, safe=_SAFE, encoding="latin-1")
            return page(301, head, location=exchange.location(f"{path}/"))
        if head.method == "POST" or exchange.body_broken():
            found.close()
            return page(405 if head.method == "POST" else 400, head)
        name = f"{head.path}index.html" if head.path.endswith("/") else head.path
        answer = answer_with(Resource(content_type(name), found.size, found.modified), head)
        answer.continues = True
        answer.file = found
        return answer

    def close(self) -> None:
        """Stop the thread after its work."""
        self._thread.shutdown(wait=False)

    async def _look_for(self, path: str) -> "OpenFile | _Folder":
        future = self._submit(self._find, path)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(_abandon)
            raise

    def _submit(self, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> "Future[Result]":
        """Let the thread do ``work``; raise _RefusedError, and do it never, if the thread can't start."""
        try:
            return self._thread.submit(work, *args, **kwargs)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self._thread = ThreadPoolExecutor(1, "decoy")  # the old one would do it later
            raise _RefusedError(500) from None

    async def in_thread(self, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Call ``work``, which may wait for a disk, in the thread."""
        return await asyncio.wrap_future(self._submit(work, *args, **kwargs))

    def submit_close(self, fd: int) -> None:
        """Close a descriptor when the thread has done all earlier work."""
        try:
            self._thread.submit(os.close, fd)
        except RuntimeError:  # the thread is shut down
            os.close(fd)

    def load(self, fd: int, size: int, start: int) -> None:
        """Read a part of a file to get it into the system's memory."""
        self._scratch = self._scratch or bytearray(LOAD_SIZE)
        os.preadv(fd, [memoryview(self._scratch)[:size]], start)

    def _find(self, path: str) -> OpenFile | _Folder:
        name = self._root / os.fsdecode(path.strip("/").encode("latin-1"))
        try:
            if path.endswith("/"):
                return self._open(self._index_of(name))
            return self._open(name)
        except OSError as error:
            raise _RefusedError(403 if error.errno in _FORBIDDEN else 404) from None

    def _index_of(self, name: Path) -> Path:
        if not self._visible(name).is_dir():
            raise _RefusedError(404)
        index = name / "index.html"
        if not os.path.lexists(index):
            raise _RefusedError(403)
        return index

    def _open(self, name: Path) -> OpenFile | _Folder:
        real = self._visible(name)
        mode = real.stat().st_mode
        if stat.S_ISDIR(mode):
            return _Folder()
        if not stat.S_ISREG(mode):  # opening a device may have effects
            raise _RefusedError(404)
        fd = os.open(real, _FLAGS)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise _RefusedError(404)
        return OpenFile(self, fd, status)

    def _visible(self, name: Path) -> Path:
        """Return the file that a name leads to, unless it is hidden. Raises OSError or _RefusedError."""
        try:
            real = name.resolve(strict=True)
        except RuntimeError:  # links in a circle
            raise _RefusedError(404) from None
        if not real.is_relative_to(self._root):
            raise _RefusedError(404)
        if any(part.startswith(".") for part in real.relative_to(self._root).parts):
            raise _RefusedError(404)
        return real


def _abandon(future: "Future[OpenFile | _Folder]") -> None:
    """Close a file that was opened for a visitor who has left."""
    if not future.cancelled() and not future.exception() and isinstance(found := future.result(), OpenFile):
        os.close(found.fd)
