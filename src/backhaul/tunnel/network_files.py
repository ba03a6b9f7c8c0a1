"""Files with networks, which are read in threads and watched for changes."""

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from backhaul.errors import BackhaulError
from backhaul.net.poller import reason
from backhaul.networks import Networks, parse_lines

log = logging.getLogger("backhaul.server")

_MAX_FILE: Final = 16 << 20  # bytes: half a million networks
_NOTHING: Final = Networks()
_Stamp = tuple[int, ...]


class NetworkFiles:
    """The networks of files; a file that becomes unreadable or wrong leaves those that it had."""

    def __init__(self, look_every: float) -> None:
        self._look_every = look_every
        self._names: dict[str, str] = {}  # path → the key that names it
        self._stamps: dict[str, _Stamp] = {}
        self._networks: dict[str, Networks] = {}
        self._watch: asyncio.Task[None] | None = None

    def __getitem__(self, path: str) -> Networks:
        return self._networks.get(path, _NOTHING)

    async def learn(self, files: Mapping[str, str]) -> None:
        """Read the files, given by the names of their keys; raise BackhaulError with the first mistake."""
        for name, path in files.items():
            stamp = _stamp(path)
            try:
                self._networks[path] = await asyncio.to_thread(_read, path)
            except (OSError, ValueError) as error:
                raise BackhaulError(f"{name}: {path}: {_mistake(error)}") from None
            self._stamps[path] = stamp
        self._names = {path: name for name, path in files.items()}
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
        if stamp == self._stamps.get(path):
            return
        self._stamps[path] = stamp
        try:
            self._networks[path] = await asyncio.to_thread(_read, path)
        except (OSError, ValueError) as error:
            log.error("%s: %s: %s; the list in force stays", self._names.get(path, path), path, _mistake(error))
        else:
            log.info("%s: %s: read again, %d networks", self._names.get(path, path), path, self._networks[path].size)


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116 - once a second, a Path costs more than the call
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: str) -> Networks:
    with Path(path).open("rb") as file:
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise ValueError("larger than 16 MB; shorten the list")
    return parse_lines(data.decode("utf-8-sig"))


def _mistake(error: OSError | ValueError) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)
