"""The check of the targets that a client knows: each must accept a connection."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Final

from backhaul.config import ClientConfig
from backhaul.errors import reason
from backhaul.wire.targets import UDP_PREFIX, BadTargetError, Target, names_path, parse_target

from . import names, reach
from .circumstances import Circumstances
from .finding import Finding, fault, ok, skipped
from .wording import milliseconds

SUBJECT: Final = "target"
_MOST: Final = 64  # targets
_AT_A_TIME: Final = 16
_OF_STREAMS: Final = ("total", "dropped", "refused")  # counts of TCP users: nothing accepts on a target of UDP alone


async def examine(config: ClientConfig, around: Circumstances) -> AsyncIterator[Finding]:
    """Yield a finding for each target."""
    known = _known(config, around)
    if not known:
        text = "none is known yet: the server names them when users connect"
        yield skipped(SUBJECT, text, "run the command again after the first user, or name targets in allow_targets")
        return
    places = asyncio.Semaphore(_AT_A_TIME)
    for finding in await asyncio.gather(*(_one(text, around, places) for text in known[:_MOST])):
        yield finding
    if len(known) > _MOST:
        yield skipped(SUBJECT, f"{len(known) - _MOST} more targets are known and not checked")


def _known(config: ClientConfig, around: Circumstances) -> list[str]:
    """Return the targets of users so far, or else those that the configuration names."""
    ports = [port for program in around.programs for port in program.get("ports", ()) if isinstance(port, dict)]
    used = [str(port.get("target")) for port in ports if any(map(port.get, _OF_STREAMS))]
    return list(dict.fromkeys(filter(_is_target, used or config.allow_targets)))


def _is_target(text: str) -> bool:
    """Return whether the text names one TCP target; an entry of allow_targets may name many."""
    if text.startswith(UDP_PREFIX) or "*" in text or ("/" in text and not names_path(text)):
        return False
    try:
        return bool(parse_target(text))
    except BadTargetError:
        return False


async def _one(text: str, around: Circumstances, places: asyncio.Semaphore) -> Finding:
    target, wait = parse_target(text), around.waits.target
    async with places:
        if not target.port:
            return await _path(text, target, wait)
        found, finding = await names.find(target.host, target.port, "the target", around.names, wait)
        if not found:
            return fault(SUBJECT, f"{text}: {finding.text}", "correct the target in `ports` on the server, or its name")
        arrivals = await reach.arrive(found, wait)
    best = reach.best(arrivals)
    if not best.error:
        return ok(SUBJECT, f"{text}: connected in {milliseconds(best.seconds)}")
    return fault(SUBJECT, f"{text}: {reach.obstacle(best)}", "start the service, or correct the target on the server")


async def _path(text: str, target: Target, wait: float) -> Finding:
    """Return the finding about a Unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(wait):
                await asyncio.get_running_loop().sock_connect(sock, target.host)
        except OSError as error:
            remedy = "start the service, or let this program's user use its socket"
            return fault(SUBJECT, f"{text}: {reason(error) or 'no answer'}", remedy)
    return ok(SUBJECT, f"{text}: connected")
