"""The description of the API in OpenAPI 3.1, made from the table of operations."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct

from backhaul.monitor.settings import Login

from .guards import HEADER, Guard
from .messages import Nothing, Problem
from .operations import EVENTS, JSON, OPERATIONS, Operation

Document = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}"
_TEXT: Final = "text/plain; charset=utf-8"
_SCHEMES: Final[dict[Login, Document]] = {
    "password": {"type": "http", "scheme": "basic"},
    "certificate": {"type": "mutualTLS"},
}


def describe(guard: Guard, version: str) -> Document:
    """Return the description of one door, whose requests ``guard`` judges."""
    kinds: set[type[Struct]] = {Problem}
    kinds.update(*((one.answer, one.query, one.body) for one in OPERATIONS))
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REFERENCE)
    shapes = dict(zip(ordered, schemas, strict=True))
    document: Document = {
        "openapi": "3.1.0",
        "info": {"title": "Backhaul", "version": version, "description": "Administration of one running end."},
        "paths": {
            operation.path: {operation.method.lower(): _operation(operation, guard, shapes, components)}
            for operation in OPERATIONS
        },
        "components": {"schemas": components},
    }
    if guard.logins:
        document["components"]["securitySchemes"] = {login: _SCHEMES[login] for login in guard.logins}
        document["security"] = [{login: []} for login in guard.logins]
    return document


def _operation(operation: Operation, guard: Guard, shapes: dict[type[Struct], Any], components: Document) -> Document:
    found: Document = {
        "operationId": operation.name.replace("/", "_").partition(".")[0],
        "summary": operation.summary,
        "parameters": list(_parameters(operation, guard, components)),
        "responses": _answers(operation, guard, shapes),
    }
    if operation.body is not Nothing:
        found["requestBody"] = {"content": {JSON: {"schema": shapes[operation.body]}}}
    return found


def _parameters(operation: Operation, guard: Guard, components: Document) -> Iterator[Document]:
    for name, schema in components[operation.query.__name__]["properties"].items():
        yield {"name": name, "in": "query", "schema": schema}
    if operation.method == "POST" and guard.needs_header:
        yield {
            "name": HEADER,
            "in": "header",
            "required": True,
            "description": "Proves that no website made a browser send the request. Any value will do.",
            "schema": {"type": "string", "minLength": 1, "examples": ["1"]},
        }


def _answers(operation: Operation, guard: Guard, shapes: dict[type[Struct], Any]) -> Document:
    good = {operation.media: {"schema": {"type": "string"} if operation.media != JSON else shapes[operation.answer]}}
    bad = {JSON: {"schema": shapes[Problem]}}
    answers: Document = {"200": {"description": "Done.", "content": good}}
    texts = {_TEXT: {"schema": {"type": "string"}}}
    for status in _failures(operation):
        answers[str(status.value)] = {"description": f"{status.phrase}.", "content": bad}
    answers["400"] = {"description": "The request is not valid.", "content": {**bad, **texts}}
    for status in _refusals(operation, guard):
        known = answers.get(str(status.value), {"content": {}})["content"]
        answers[str(status.value)] = {"description": f"{status.phrase}.", "content": {**known, **texts}}
    return answers


def _failures(operation: Operation) -> Iterator[HTTPStatus]:
    yield HTTPStatus.METHOD_NOT_ALLOWED
    yield HTTPStatus.CONFLICT
    if operation.method == "POST" or operation.private:
        yield HTTPStatus.FORBIDDEN
    if operation.method == "POST":
        yield HTTPStatus.LENGTH_REQUIRED
        yield HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        yield HTTPStatus.UNSUPPORTED_MEDIA_TYPE


def _refusals(operation: Operation, guard: Guard) -> Iterator[HTTPStatus]:
    if operation.media == EVENTS:
        yield HTTPStatus.SERVICE_UNAVAILABLE  # too many readers
    if "password" in guard.logins:
        yield HTTPStatus.UNAUTHORIZED
        yield HTTPStatus.TOO_MANY_REQUESTS
    elif guard.logins:
        yield HTTPStatus.FORBIDDEN
    elif guard.needs_header:
        yield HTTPStatus.MISDIRECTED_REQUEST
