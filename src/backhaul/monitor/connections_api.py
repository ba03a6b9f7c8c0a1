"""The users in flight over HTTP: their list, and the closing of some of them."""

import asyncio
import math
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from backhaul.addresses import parse_user
from backhaul.errors import UNREADABLE
from backhaul.state import Selection

from .connections import Connections
from .http import Request, Response

_FRESH: Final = 0.5  # seconds for which visitors share a list
_NEVER: Final = -math.inf
_JSON: Final = "application/json"
_LOCKED: Final = Response(b"closing needs a login: set web_user and web_password\n", status=HTTPStatus.FORBIDDEN)
_NOT_POST: Final = Response(b"use POST\n", status=HTTPStatus.METHOD_NOT_ALLOWED, headers=(("Allow", "POST"),))
_FOREIGN: Final = Response(
    b"send application/json with the header X-Backhaul: close, from this page or a program\n",
    status=HTTPStatus.FORBIDDEN,
)
_UNCLEAR: Final = Response(
    b'expected {"id": 1}, {"user": "192.0.2.1"} or {"port": 443}\n', status=HTTPStatus.BAD_REQUEST
)


class _Choice(Struct, forbid_unknown_fields=True):
    """The users to close; each field that is set narrows the choice."""

    id: int = 0
    user: str = ""
    """An address, or address and port."""
    port: int = 0
    """The local port of the server."""


class ConnectionsApi:
    """Answers for ``/api/connections`` and ``/api/connections/close``."""

    def __init__(
        self, connections: Connections, *, closable: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connections = connections
        self._closable = closable
        self._clock = clock
        self._making = asyncio.Lock()
        self._made = _NEVER
        self._list = b""

    async def list(self) -> Response:
        """Return all users. Visitors who ask at the same time share one list, however many they are."""
        async with self._making:
            if self._clock() - self._made >= _FRESH:
                self._list = await self._document()
                self._made = self._clock()
        return Response(self._list, _JSON)

    async def close(self, request: Request) -> Response:
        """Reset the users chosen by the body, and return their number."""
        if refusal := self._refusal(request):
            return refusal
        try:
            choice = msgspec.json.decode(request.body, type=_Choice)
            selection = _selection(choice)
        except (ValueError, *UNREADABLE):
            return _UNCLEAR
        if selection.everyone:
            return _UNCLEAR
        closed = 0
        for count in self._connections.closed(selection):
            closed += count
            await asyncio.sleep(0)
        self._made = _NEVER  # whoever has closed a user looks at once whether they have left
        return Response(msgspec.json.encode({"closed": closed}), _JSON)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer for requests that may not close anything.

        A website can make a browser that knows the login send requests, but none with such a header or content type,
        because for those the browser asks this server first.
        """
        if not self._closable:
            return _LOCKED
        if request.method != "POST":
            return _NOT_POST
        own = {f"http://{request.host}", f"https://{request.host}", ""}
        is_json = request.content_type.partition(";")[0].strip().lower() == _JSON
        return None if is_json and request.intent == "close" and request.origin in own else _FOREIGN

    async def _document(self) -> bytes:
        pieces = []
        for piece in self._connections.document({"now": time.time(), "closable": self._closable}, Selection()):
            pieces.append(piece)
            await asyncio.sleep(0)
        return b"".join(pieces)


def _selection(choice: _Choice) -> Selection:
    host, port = parse_user(choice.user) if choice.user else ("", 0)
    return Selection(number=choice.id, host=host, port=port, bind_port=choice.port)
