"""One door of the API: reads requests, checks them against the table, and calls the operations."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from backhaul.errors import UNREADABLE, BackhaulError
from backhaul.monitor.http_messages import BodyError, Headers, Request, Response, Stream

from .errors import RefusedError
from .guards import HOW, Guard
from .messages import Nothing, Problem
from .operations import EVENTS, JSON, OPERATIONS, Operation

PREFIX: Final = "/api/"
_MOST_PARAMETERS: Final = 20
_NO_OPERATION: Final = "no such operation; GET /api/openapi.json lists all"

Handler = Callable[[Any], Awaitable[Struct | bytes | Stream]]
"""Takes the query, or the body if the operation has one; returns an answer, or its JSON."""


class Desk:
    """Answers requests; an HTTP server calls it."""

    def __init__(self, handlers: Mapping[Operation, Handler], guard: Guard) -> None:
        self._handlers = handlers
        self._guard = guard
        self._operations: dict[str, Operation] = {operation.path: operation for operation in OPERATIONS}

    async def __call__(self, request: Request) -> Response | Stream:
        """Answer one request."""
        try:
            operation = self._operations.get(request.path)
            if operation is None:
                return _problem(_NO_OPERATION, HTTPStatus.NOT_FOUND)
            if request.method not in _methods(operation):
                return _not_allowed(operation)
            answer = await self._handlers[operation](await self._read(operation, request))
        except (RefusedError, BodyError) as error:
            return _problem(str(error), error.status)
        except BackhaulError as error:  # for which this is the wrong moment
            return _problem(str(error), HTTPStatus.CONFLICT)
        return answer if isinstance(answer, Stream) else _json(answer)

    async def _read(self, operation: Operation, request: Request) -> Struct:
        if operation.private and not self._guard.may_change:
            raise RefusedError(f"this needs a login: {HOW}", HTTPStatus.FORBIDDEN)
        query = _query(operation, request)
        if operation.method == "GET":
            return query
        self._guard.judge(request)
        return await _body(operation, request)


def _methods(operation: Operation) -> tuple[str, ...]:
    return ("GET", "HEAD") if operation.method == "GET" else ("POST",)


def _query(operation: Operation, request: Request) -> Struct:
    """Read the query; a parameter may occur once."""
    try:
        pairs = parse_qsl(
            request.query,
            keep_blank_values=True,
            strict_parsing=bool(request.query),
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
        if len(dict(pairs)) < len(pairs):
            raise RefusedError("query: a parameter is given twice")
        fields = dict(pairs)
        if operation.media == EVENTS and request.last_event:
            fields["last_event_id"] = request.last_event
        return msgspec.convert(fields, operation.query, strict=False)
    except (ValueError, *UNREADABLE) as error:
        raise RefusedError(f"query: {error}") from None


async def _body(operation: Operation, request: Request) -> Struct:
    """Read the body; an empty one means a request without parameters."""
    text = await request.read(operation.most)
    if operation.body is Nothing:
        return Nothing()
    if not text:
        text = b"{}"
    elif request.content_type.partition(";")[0].strip().lower() != JSON:
        raise RefusedError(f"send the body as {JSON}", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    try:
        return msgspec.json.decode(text, type=operation.body)
    except UNREADABLE as error:
        raise RefusedError(f"body: {error}") from None


def _json(answer: Struct | bytes, status: int = HTTPStatus.OK, headers: Headers = ()) -> Response:
    body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
    return Response(body, JSON, status, headers)


def _problem(text: str, status: int, headers: Headers = ()) -> Response:
    return _json(Problem(text), status, headers)


def _not_allowed(operation: Operation) -> Response:
    methods = ", ".join(_methods(operation))
    return _problem(f"use {operation.method}", HTTPStatus.METHOD_NOT_ALLOWED, (("Allow", methods),))
