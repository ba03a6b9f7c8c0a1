"""Files with networks, which are read in threads and watched for changes."""

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Final

from backhaul.errors import BackhaulError, reason
from backhaul.networks import Networks, read_networks
from backhaul.threads import in_thread

log = logging.getLogger("backhaul.server")

_NOTHING: Final = Networks()
_Stamp = tuple[int, ...]


class NetworkFiles:
    """The networks of files; a file that becomes unreadable or wrong leaves those that it had."""

    def __init__(self, look_every: float) -> None:
        self._look_every = look_every
        self._names: dict[str, str] = {}  # path → the key that names it
        self._stamps: dict[str, _Stamp] = {}
        self._networks: dict[str, Networks] = {}
        self._unread: dict[str, str] = {}  # path → the reason, which may lie elsewhere, such as a lack of descriptors
        self._watch: asyncio.Task[None] | None = None

    def __getitem__(self, path: str) -> Networks:
        return self._networks.get(path, _NOTHING)

    async def learn(self, files: Mapping[str, str]) -> None:
        """Read the files, given by the names of their keys; raise BackhaulError with the first mistake."""
        names = {path: name for name, path in files.items()}
        stamps, networks = {}, {}
        for path, name in names.items():
            stamps[path] = _stamp(path)
            try:
                networks[path] = await in_thread(read_networks, path)
            except (OSError, ValueError, MemoryError) as error:
                raise BackhaulError(f"{name}: {path}: {_why(error)}") from None
        self._names, self._stamps, self._networks = names, stamps, networks
        self._watch_or_rest()

    def close(self) -> None:
        """Watch no more."""
        if self._watch:
            self._watch.cancel()
            self._watch = None

    def _watch_or_rest(self) -> None:
        if not self._names:
            self.close()
        elif not self._watch:
            self._watch = asyncio.ensure_future(self._look_again_and_again())

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self._look_every)
            for path in list(self._names):
                await self._look(path)

    async def _look(self, path: str) -> None:
        stamp = _stamp(path)
        before = self._unread.pop(path, "")
        if stamp == self._stamps.get(path) and not before:
            return
        self._stamps[path] = stamp
        try:
            networks = await in_thread(read_networks, path)
        except (OSError, MemoryError) as error:
            self._unread[path] = _why(error)
            if self._unread[path] != before:
                self._complain(path, error)
        except ValueError as error:
            self._complain(path, error)
        else:
            if self._stamps.get(path) == stamp:  # otherwise a reload has read the file, or names it no more
                self._networks[path] = networks
                log.info("%s: %s: read again, %d networks", self._names.get(path, path), path, networks.size)

    def _complain(self, path: str, error: Exception) -> None:
        log.error("%s: %s: %s; the list in force stays", self._names.get(path, path), path, _why(error))


def _why(error: Exception) -> str:
    return "out of memory" if isinstance(error, MemoryError) else reason(error)


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116 - once a second, a Path costs more than the call
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
