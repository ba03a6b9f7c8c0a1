"""The answers of the monitoring page, and the access to them."""

import base64
import hmac
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from importlib import resources
from pathlib import PurePath
from typing import Final

import msgspec

from backhaul.failures import Failures, network_of
from backhaul.net.log_throttle import LogThrottle

from . import legacy, names
from .http_messages import Request, Respond, Response, Stream
from .settings import Settings
from .sources import Sources
from .status import Status, traffic
from .traffic import TrafficStatus

log = logging.getLogger("backhaul.monitor")

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
"""Headers of every answer. The page loads only its own files, and injected code could reach no other host."""

_FILES: Final = (
    "index.html",
    "page.css",
    "page.js",
    "chart.js",
    "format.js",
    "ports.js",
    "connections.js",
    "curl.js",
    "api.js",
    "cells.js",
    "clients.js",
    "configuration.js",
    "day.js",
    "events.js",
    "limits.js",
    "members.js",
    "seen.js",
    "view.js",
    "icon.svg",
)
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ASK_FOR_LOGIN: Final = Response(
    b"user name and password, please\n",
    status=HTTPStatus.UNAUTHORIZED,
    headers=(("WWW-Authenticate", 'Basic realm="Backhaul", charset="UTF-8"'),),
)
_UNCERTIFIED: Final = Response(
    b"this page needs a client certificate of an authority in web_client_ca\n", status=HTTPStatus.FORBIDDEN
)
_WAIT: Final = Response(b"too many failed logins, try again later\n", status=HTTPStatus.TOO_MANY_REQUESTS)
_MISDIRECTED: Final = Response(
    b"this page is not served under this name; open it by its address, or set web_user and web_password, "
    b"or web_client_ca\n",
    status=HTTPStatus.MISDIRECTED_REQUEST,
)
_FREE_FAILURES: Final = 5  # without a pause, for typing mistakes
_FAILURE_WINDOW: Final = 600.0  # seconds: below the free failures guesses are no faster than with pauses
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds
_NOT_FOUND: Final = Response(b"not found\n", status=HTTPStatus.NOT_FOUND)

# v0.7.2 answers these with its page, whose script loads the numbers relative to it.
_ALIASES: Final = ("/stats/", "/data/")

_API: Final = "/api/"


class Site:
    """Answers requests; the HTTP server calls ``respond``. ``api`` answers those below ``/api/``."""

    def __init__(
        self, settings: Settings, sources: Sources, api: Respond, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._failures = Failures(_FREE_FAILURES, _FAILURE_WINDOW, _FIRST_PAUSE, _LONGEST_PAUSE, clock)
        self._login = _basic(settings.web_user, settings.web_password)
        self._throttle = LogThrottle(log)
        self._handlers: dict[str, Respond] = {}
        if "prometheus" in settings.metrics:
            from .metrics import Metrics  # noqa: PLC0415 - its library takes 5 MB

            self._handlers["/metrics"] = Metrics(sources, self._usage, settings.certificates).respond
        if "default" in settings.metrics or not settings.metrics:
            self._handlers |= {_API: api, "/stats": self._stats, "/data": self._data}
            self._handlers |= {f"/{name}": _file(name) for name in _FILES}
            self._handlers["/"] = self._handlers.pop("/index.html")

    async def respond(self, request: Request) -> Response | Stream:
        """Answer one request."""
        if request.path == "/healthz":
            return _said("connected", (await self._sources.survey()).connected)
        if request.path == "/ready":
            return _said("ready", (await self._sources.survey()).ready)
        if refusal := self._refusal(request):
            return refusal
        path = _without_alias(request.path)
        handler = self._handlers.get(_API if path.startswith(_API) else path)
        return await handler(replace(request, path=path)) if handler else _NOT_FOUND

    def traffic(self) -> TrafficStatus:
        """Return the throughput of the last minutes and the load of the machine."""
        sampler = self._sources.sampler
        return TrafficStatus(
            now=time.time(),
            interval=sampler.interval,
            history=[(round(rate.received), round(rate.sent)) for rate in sampler.history],
            usage=self._sources.usage() if self._settings.sniffer else None,
            machine=sampler.machine,
            machine_rate=sampler.machine_rate,
        )

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer for visitors without access, or None for those with access."""
        if not self._settings.logins:
            return None if names.expected(request.host, request.peer) else _MISDIRECTED
        if request.certified and "certificate" in self._settings.logins:
            return None
        return self._asked(request) if "password" in self._settings.logins else _UNCERTIFIED

    def _asked(self, request: Request) -> Response | None:
        """Return the answer for visitors without user name and password, or None for those with both."""
        source = network_of(request.peer)
        if self._failures.pause(source):
            return _WAIT
        scheme, _, credentials = request.authorization.partition(" ")
        if scheme.lower() == "basic" and hmac.compare_digest(credentials.encode(), self._login):
            return None
        if request.authorization:
            self._failures.failed(source)
            self._throttle.warn(request.peer, f"monitoring page: wrong user name or password from {request.peer}")
        return _ASK_FOR_LOGIN

    async def _stats(self, _: Request) -> Response:
        status, sniffer = await self._sources.survey(), self._settings.sniffer
        return _json(legacy.stats(status, self._usage(status), self._sources.sampler, sniffer=sniffer))

    async def _data(self, _: Request) -> Response:
        return _json(legacy.ports(self._usage(await self._sources.survey())))

    def _usage(self, status: Status) -> dict[int, int]:
        """Return the bytes of each port; without a usage log the status has them."""
        return self._sources.usage() if self._settings.sniffer else traffic(status)


def _said(state: str, holds: bool) -> Response:  # noqa: FBT001 - the answer to a question
    """Answer 200 or 503 without a login, for load balancers and service managers."""
    if holds:
        return Response(f"{state}\n".encode())
    return Response(f"not {state}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)


def _without_alias(path: str) -> str:
    for alias in _ALIASES:
        if path.startswith(alias):
            return path[len(alias) - 1 :]
    return path


def _basic(user: str, password: str) -> bytes:
    return base64.b64encode(f"{user}:{password}".encode())


def _file(name: str) -> Respond:
    path = resources.files("backhaul.monitor").joinpath("page", name)
    response = Response(path.read_bytes(), _TYPES[PurePath(name).suffix])

    async def handler(_: Request) -> Response:
        return response

    return handler


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), "application/json")
