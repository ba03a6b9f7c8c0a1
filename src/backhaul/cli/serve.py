"""Running one end until it is told to stop."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from backhaul.client import Client
from backhaul.config import ClientConfig, ServerConfig
from backhaul.errors import BackhaulError
from backhaul.server import Server
from backhaul.system import limits, tuning
from backhaul.system.log import configure

log = logging.getLogger("backhaul")


def serve(config: ServerConfig | ClientConfig) -> int:
    """Run the end that `config` describes; return the exit code."""
    configure(config.log_level, config.log_format)
    for warning in config.warnings:
        log.warning("%s", warning)
    _prepare_machine(tune=not config.skip_optz)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_run(config))
    except BackhaulError as error:
        log.error("%s", error)
        return 1
    return 0


def _prepare_machine(*, tune: bool) -> None:
    if tune:
        tuning.tune()
    limits.raise_descriptor_limit(limits.TUNED_LIMIT if tune else 0)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's maker of event loops where it is installed, None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(config: ServerConfig | ClientConfig) -> None:
    end = Server(config) if isinstance(config, ServerConfig) else Client(config)
    stop = _on_signals()
    await end.start()
    await stop.wait()
    log.info("stopping: users in flight get %g s; a second signal ends at once", config.shutdown_timeout)
    stop.clear()
    await _first(end.stop(), stop.wait())
    log.info("stopped")


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _first(*coroutines: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
