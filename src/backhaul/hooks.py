"""The events of an end, sent to the administrator's own program as the configuration requires it."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from backhaul.config.schema import Config, certificates_of, side_of
from backhaul.reports import Notice
from backhaul.system.event_sender import EventSender
from backhaul.system.event_ways import way_to
from backhaul.system.expiry import Expiry
from backhaul.system.log import TUNNEL

from .client import Client
from .server import Server
from .threads import in_thread

DAY: Final = 86400.0
NEAR: Final = 14 * DAY
"""Seconds before the end of the certificate from which on that is an event, daily."""
_FORM: Final = "%Y-%m-%dT%H:%M:%SZ"

log = logging.getLogger("backhaul")


def is_near(end: float, now: float) -> bool:
    """Return whether a certificate should be renewed."""
    return end - now < NEAR


class Hooks:
    """Sends the events of ``end``, if ``on_event`` is set, and warns of certificates that end soon."""

    def __init__(self, end: Server | Client, *, look_every: float = DAY) -> None:
        self._end = end
        self._look_every = look_every
        self._settings: tuple[str, ...] = ()
        self._parts = contextlib.AsyncExitStack()

    async def apply(self, config: Config) -> None:
        """Begin, end or change the sending."""
        certificates = certificates_of(config)
        settings = config.on_event.reveal(), config.transport, *certificates
        if settings == self._settings:
            return
        self._settings = settings
        former, self._parts = self._parts, contextlib.AsyncExitStack()
        send = await self._parts.enter_async_context(_sending(config)) if config.on_event else _ignore
        self._end.news.listener = send
        await former.aclose()
        for certificate in certificates:
            await self._parts.enter_async_context(_watching(certificate, send, self._look_every))

    async def close(self) -> None:
        """Give the last events a moment, and end the sending."""
        self._end.news.listener = _ignore
        await self._parts.aclose()


def _ignore(_: Notice) -> None:
    """Send nothing."""


_Tell = Callable[[Notice], None]


@contextlib.asynccontextmanager
async def _sending(config: Config) -> AsyncIterator[_Tell]:
    """Yield the sender of events during the block."""
    sender = EventSender(*way_to(config.on_event.reveal()))
    common = {"host": socket.gethostname(), "side": side_of(config), "transport": config.transport}
    common |= {"tunnel": name} if (name := TUNNEL.get()) else {}

    def tell(notice: Notice) -> None:
        when = {"time": time.strftime(_FORM, time.gmtime())}
        sender.send(msgspec.json.encode(when | common | msgspec.to_builtins(notice)))

    try:
        yield tell
    finally:
        await sender.close()


@contextlib.asynccontextmanager
async def _watching(file: str, tell: _Tell, every: float) -> AsyncIterator[None]:
    """Look at the end of the certificate during the block."""
    watch = asyncio.create_task(_watch(Expiry(file), file, tell, every))
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait([watch])


async def _read(expiry: Expiry) -> float | None:
    try:
        return await in_thread(expiry.read)
    except OSError:  # there is no thread now
        return None


async def _watch(expiry: Expiry, file: str, tell: _Tell, every: float) -> None:
    while True:
        end = await _read(expiry)
        if end is not None and is_near(end, time.time()):
            tell(Notice("certificate", file=file, ends=time.strftime(_FORM, time.gmtime(end))))
            _warn(file, end)
        await asyncio.sleep(every)


def _warn(file: str, end: float) -> None:
    ends = "ends" if end > time.time() else "has ended"
    day = time.strftime("%Y-%m-%d", time.gmtime(end))
    log.warning("certificate %s: %s on %s; renew it, and the new one is used without a restart", file, ends, day)
