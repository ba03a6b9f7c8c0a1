"""The command ``backhaul -c FILE -c FILE``: runs the ends of several files in one process."""

import asyncio
import contextlib
import contextvars
import logging
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backhaul import __version__
from backhaul.bare_tokens import warned
from backhaul.config import ConfigError, ServerConfig, load_usable
from backhaul.config.files import find_files, load_all, name_files
from backhaul.config.schema import Config
from backhaul.errors import BackhaulError
from backhaul.process import Process
from backhaul.system.files import stamp_of
from backhaul.system.log import TUNNEL, configure
from backhaul.system.shared_manager import SharedManager, Spot
from backhaul.system.signals import PassedSignals

from .event_loop import fastest, run
from .serve import prepare_machine

log = logging.getLogger("backhaul")

_LOOK_EVERY: Final = 1.0  # seconds between looks at directories, and at files of ends that do not run
_AGAIN: Final = 30.0  # seconds until an end that could not start tries again
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


def serve_several(arguments: Sequence[str]) -> int:
    """Run the ends of all files that the arguments name; return the exit code.

    An end whose file has mistakes starts when they are corrected. Raises ConfigError if no file is usable.
    """
    files = find_files(arguments)
    usable, problems = load_all(files)
    if not usable:
        raise ConfigError(problems)
    first, *_ = usable.values()
    configure(first.log_level, first.log_format)
    log.info(
        "backhaul v%s on Python %s starts: configurations %s, pid %d",
        __version__,
        ".".join(map(str, sys.version_info[:3])),
        ", ".join(str(file.absolute()) for file in files),
        os.getpid(),
    )
    try:
        prepare_machine(tune=not all(config.skip_optz for config in usable.values()))
    except BackhaulError as error:
        log.critical("%s", error)
        return 1
    return run(_Ends(arguments).run(), fastest())


class _Ends:
    """The ends of all files; those of a directory follow its content."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._manager = SharedManager()
        self._running: dict[asyncio.Task[None], _End] = {}
        self._stopping = False

    async def run(self) -> int:
        """Run until all ends have stopped; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (*_ENDING, signal.SIGHUP):
            loop.add_signal_handler(number, self._pass, number)
        failed = False
        self._follow()
        while self._running:
            done, _ = await asyncio.wait(self._running, timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                failed |= self._running.pop(task).ended(task)
            if not self._stopping:
                self._follow()
        return 1 if failed else 0

    def _pass(self, number: signal.Signals) -> None:
        self._stopping |= number in _ENDING
        for end in self._running.values():
            end.signals.deliver(number)

    def _follow(self) -> None:
        """Start the ends of new files, and stop those whose file was removed from a directory."""
        try:
            files = name_files(find_files(self._arguments))
        except ConfigError:  # the directory is being replaced
            return
        present = {end.file for end in self._running.values()}
        for name, file in files.items():
            if file not in present:
                self._begin(name, file)
        for end in self._running.values():
            if end.file not in files.values():
                end.remove()

    def _begin(self, name: str, file: Path) -> None:
        context = contextvars.copy_context()
        context.run(TUNNEL.set, name)
        end = _End(name, file, self._manager)
        self._running[asyncio.get_running_loop().create_task(end.run(), context=context)] = end


class _End:
    """The end of one file, which starts as soon as it can."""

    def __init__(self, name: str, file: Path, manager: SharedManager) -> None:
        self.file = file
        self.signals = PassedSignals()
        self._manager = manager.part(name, self._wants)
        self._spots: frozenset[Spot] = frozenset()
        self._removed = False
        self._stopped = False
        self._wake = asyncio.Event()  # a signal has arrived

    async def run(self) -> None:
        """Run until it is stopped."""
        while not self._stopped:
            self._await_signals()
            stamp = stamp_of(self.file)
            patience = await self._attempt()
            self._await_signals()  # instead of an end that could not start
            self._manager.ready()
            await self._until_worthwhile(stamp, patience)
        self._manager.stopping()

    async def _attempt(self) -> float:
        """Run the end; return the seconds until the next attempt, if it could not start."""
        try:
            await self._start()
        except ConfigError as error:
            for problem in error.problems:
                log.error("%s", problem)
            log.error("%s: not started until these mistakes are corrected", self.file)
            return math.inf
        except BackhaulError as error:
            log.critical("%s: not started: %s; tried again in %.0f s", self.file, error, _AGAIN)
            return _AGAIN
        self._stop()
        return 0

    def remove(self) -> None:
        """Stop it, because its file was removed."""
        if not self._removed:
            self._removed = True
            log.info("%s: removed; stopping its end", self.file)
            self.signals.deliver(signal.SIGTERM)

    def ended(self, task: asyncio.Task[None]) -> bool:
        """Log an internal error; return whether there was one."""
        if error := task.exception():
            log.critical("%s: internal error; its end has stopped", self.file, exc_info=error)
            self._manager.stopping()
        return error is not None

    def _await_signals(self) -> None:
        for number in _ENDING:
            self.signals.on(number, self._stop)
        self.signals.on(signal.SIGHUP, self._wake.set)

    def _stop(self) -> None:
        self._stopped = True
        self._wake.set()

    async def _start(self) -> None:
        config = warned(load_usable(self.file))
        for warning in config.warnings:
            log.warning("%s", warning)
        self._spots = _spots(config)
        await Process(str(self.file), config, self.signals, self._manager).run()

    async def _until_worthwhile(self, stamp: tuple[int, ...], patience: float) -> None:
        """Wait for another content of the file, for a signal, or at most ``patience`` seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while not self._wake.is_set() and loop.time() < end and stamp_of(self.file) == stamp:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._wake.wait()
        self._wake.clear()

    def _wants(self, spot: Spot) -> bool:
        return spot in self._spots


def _spots(config: Config) -> frozenset[Spot]:
    """Return the ports and paths on which an end listens."""
    addresses = [config.page] if config.page else []
    if isinstance(config, ServerConfig):
        addresses += [config.bind_addr, *(mapping.address for mapping in config.all_ports)]
    return frozenset(address.host if address.is_path else address.port for address in addresses)
