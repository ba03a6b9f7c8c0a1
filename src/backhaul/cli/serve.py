"""The command ``backhaul -c FILE``: runs one end until it is stopped."""

import logging
import os
import sys
from pathlib import Path
from typing import Final

from backhaul import __version__
from backhaul.bare_tokens import warned
from backhaul.config import load_usable
from backhaul.config.schema import Config
from backhaul.errors import BackhaulError
from backhaul.net.descriptors import descriptor_limit, shortage
from backhaul.process import Process
from backhaul.system import limits, tuning
from backhaul.system.log import configure

from .event_loop import fastest, run

log = logging.getLogger("backhaul")

_FEWEST: Final = 24  # descriptors without which no end can start
_LEAST: Final = 40  # descriptors for an end with a port, its idle connections, and a user


def serve_one(file: str) -> int:
    """Run the end of a file; return the exit code. Raises ConfigError if the file has mistakes."""
    return serve(file, warned(load_usable(file)))


def serve(file: str, config: Config) -> int:
    """Run the end that ``config``, read from ``file``, describes; return the exit code."""
    configure(config.log_level, config.log_format)
    log.info(
        "backhaul v%s on Python %s starts: configuration %s, pid %d",
        __version__,
        ".".join(map(str, sys.version_info[:3])),
        Path(file).absolute(),
        os.getpid(),
    )
    for warning in config.warnings:
        log.warning("%s", warning)
    try:
        prepare_machine(tune=not config.skip_optz)
        run(_run(file, config), fastest())
    except BackhaulError as error:
        log.critical("%s", error)  # shown at log_level "fatal" too: no other line gives the reason
        return 1
    return 0


def prepare_machine(*, tune: bool) -> None:
    """Raise limits, and with ``tune`` change kernel settings.

    Raises BackhaulError if there are too few descriptors for an end to start.
    """
    if tune:
        tuning.tune()
    limits.raise_descriptor_limit(limits.TUNED_LIMIT if tune else 0)
    if descriptor_limit() < _FEWEST:
        raise BackhaulError(shortage(_LEAST))


async def _run(file: str, config: Config) -> None:
    await Process(file, config).run()
