"""The two doors of the API on real sockets, with a program that the test plays."""

import asyncio
import base64
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.monitor.sample import SETTINGS
from tests.monitor.visitor import PATIENCE, Answer, parse

from backhaul.api.guards import PageGuard, SocketGuard
from backhaul.api.service import make_desk
from backhaul.monitor.http import HttpServer
from backhaul.monitor.machine import measure
from backhaul.monitor.sampler import Sampler
from backhaul.monitor.site import HEADERS, Site
from backhaul.monitor.sources import Sources
from backhaul.system.status_socket import serving

from .operator import SampleOperator

LOGIN = "Basic " + base64.b64encode(b"admin:secret").decode()
RIGHTS = {"Authorization": LOGIN, "X-Backhaul": "1"}
"""The headers of requests that change something on the page's port."""


class Way(NamedTuple):
    """A way to the API."""

    path: str
    """The status socket; empty for the page."""
    port: int
    headers: dict[str, str]

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.path:
            return await asyncio.open_unix_connection(self.path)
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, raw: bytes) -> bytes:
        """Send ``raw``, and return all bytes up to the end."""
        reader, writer = await self.open()
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write(raw)
                return await reader.read()
        finally:
            writer.transport.abort()

    async def ask(self, method: str, target: str, body: object = b"", **changes: str) -> Answer:
        """Send a request; ``changes`` replace headers, with underscores for hyphens; empty ones are not sent."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return parse(await self.exchange(self.request(method, target, data, **changes)))

    def request(self, method: str, target: str, data: bytes = b"", **changes: str) -> bytes:
        headers = {"Host": "localhost:2060", "Content-Type": "application/json", "Content-Length": str(len(data))}
        headers |= self.headers | {name.replace("_", "-"): value for name, value in changes.items()}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value)]
        return "\r\n".join([*lines, "", ""]).encode() + data

    async def get(self, target: str) -> Any:  # noqa: ANN401 - any document
        """Return the document of an operation that succeeds."""
        return _good(await self.ask("GET", target))

    async def post(self, target: str, body: object = b"") -> Any:  # noqa: ANN401 - any document
        """Return the document of an operation that succeeds."""
        return _good(await self.ask("POST", target, body))


def _good(answer: Answer) -> Any:  # noqa: ANN401 - any document
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer
    return json.loads(answer.body)


@asynccontextmanager
async def socket_door(operator: SampleOperator, path: Path, **limits: Any) -> AsyncIterator[Way]:  # noqa: ANN401
    """Open the status socket; ``limits`` are those of the HTTP server."""
    async with serving(path, HttpServer(make_desk(operator, SocketGuard()), **limits)):
        yield Way(str(path), 0, {})


@asynccontextmanager
async def page_door(operator: SampleOperator, *, login: bool = True) -> AsyncIterator[Way]:
    """Open a page with a login, or one without."""
    settings = dataclasses.replace(SETTINGS, web_user="admin", web_password="secret") if login else SETTINGS
    desk = make_desk(operator, PageGuard(settings.logins))
    site = Site(settings, Sources(operator.tunnel.survey, dict, Sampler(operator.tunnel.totals, measure)), desk)
    server = HttpServer(site.respond, HEADERS)
    port = await server.start("127.0.0.1", 0)
    try:
        with operator.board.fed(site.traffic):
            yield Way("", port, RIGHTS if login else {"X-Backhaul": "1"})
    finally:
        await server.stop()
