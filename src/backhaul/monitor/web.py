"""The monitoring page as a service: sampler, site and HTTP server."""

import contextlib
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from backhaul.errors import TransportError, reason

from .history import keeping_history
from .http import HttpServer
from .http_connection import Open, in_clear
from .machine import measure
from .program import Program
from .sampler import Sampler
from .settings import Settings
from .site import HEADERS, Site
from .sources import Sources, Usage
from .tasks import background

if TYPE_CHECKING:
    from backhaul.net.tls import ServerContext

log = logging.getLogger("backhaul.monitor")


@contextlib.asynccontextmanager
async def serving(settings: Settings, program: Program, usage: Usage) -> AsyncIterator[bool]:
    """Serve the page during the block; yield whether that is possible, and log the reason if it is not."""
    sampler = Sampler(program.totals, measure, interval=settings.interval)
    site = Site(settings, Sources(program.survey, usage, sampler, program.times), program.api)
    try:
        context = _context(settings)
    except TransportError as error:
        log.error("%s; going on without the page, which is tried again at the next reload", error)
        yield False
        return
    server = HttpServer(site.respond, HEADERS, open_connection=_opening(context))
    async with AsyncExitStack() as parts:
        # The history begins before the page answers, and the log says so: bytes of before are not in it.
        history = await parts.enter_async_context(keeping_history(settings.history, program.read))
        if not await _listen(server, settings):
            await parts.aclose()
            yield False
            return
        parts.push_async_callback(server.stop)
        await parts.enter_async_context(background(sampler.run()))
        await parts.enter_async_context(_watched(context))
        parts.enter_context(program.board.fed(site.traffic, history))
        yield True


def _context(settings: Settings) -> "ServerContext | None":
    """Return the page's TLS, if it has any; raise TransportError if the files are unusable."""
    if not settings.web_cert:
        return None
    from backhaul.net.tls import ServerContext, ServerTls  # noqa: PLC0415 - most pages do without

    cert, key, authorities = settings.web_cert, settings.web_key, settings.web_client_ca
    return ServerContext(ServerTls(cert, key, authorities, keys="web", look_every=settings.look_every))


def _opening(context: "ServerContext | None") -> Open:
    """Return the function that begins a connection: with TLS, or in clear."""
    if not context:
        return in_clear
    from .http_tls import Handshakes  # noqa: PLC0415 - most pages do without

    return Handshakes(context)


def _watched(context: "ServerContext | None") -> contextlib.AbstractAsyncContextManager[None]:
    """Load changed certificate files while a block runs."""
    return background(context.watch()) if context else contextlib.nullcontext()


async def _listen(server: HttpServer, settings: Settings) -> bool:
    try:
        sock = settings.open_page()
    except OSError as error:
        log.error("web_bind: can't listen on %s: %s; going on without the page", settings.address, reason(error))
        return False
    try:
        if sock:
            await server.serve(sock)
        else:
            await server.start(settings.web_bind, settings.web_port)
    except OSError as error:
        log.error("web_port: can't listen on %s: %s; going on without the page", settings.address, _reason(error))
        return False
    log.info("monitoring page on %s", settings.page)
    return True


def _reason(error: OSError) -> str:
    """Return the system's text, without that of the event loop around it; names that are not found have no number."""
    number = error.errno or 0
    return reason(OSError(number, os.strerror(number)) if number > 0 else error)
