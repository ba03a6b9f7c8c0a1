"""The API compared with its own description, by random requests through both doors."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from http import HTTPStatus
from typing import Any

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from tests.support.api import Way, page_door, socket_door
from tests.support.net import PATIENCE
from tests.support.operator import SampleOperator

from backhaul.api.guards import Guard, PageGuard, SocketGuard
from backhaul.api.openapi import describe
from backhaul.api.operations import CHECK, CLOSE, CONNECTIONS, FOLLOW, OPERATIONS, Operation
from backhaul.monitor.settings import Login

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is missing (dependency group dev)")
import requests  # noqa: E402
from requests.adapters import HTTPAdapter  # noqa: E402
from schemathesis.generation import GenerationMode  # noqa: E402
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance  # noqa: E402

WAYS: tuple[tuple[Login, ...], ...] = ((), ("password",), ("certificate",), ("password", "certificate"))
"""Ways to log in to a page."""
FINITE = [operation for operation in OPERATIONS if operation is not FOLLOW]
Opening = Callable[[SampleOperator], AbstractAsyncContextManager[Way]]


class _UnixPool(urllib3.HTTPConnectionPool):
    """Connections to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("backhaul")
        self.path = path

    def _new_conn(self) -> urllib3.connection.HTTPConnection:
        connection = urllib3.connection.HTTPConnection("backhaul", timeout=PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(self.path)
        return connection


class _UnixAdapter(HTTPAdapter):  # type: ignore[misc, unused-ignore] # no types without requests
    """The way of ``requests`` to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - as in the base class
        return _UnixPool(self._path)


class Door:
    """A door that is open while a thread serves it, and how to visit it."""

    def __init__(self, way: Way, guard: Guard) -> None:
        self.session = requests.Session()
        self.base = f"http://127.0.0.1:{way.port}"
        if way.path:
            self.base = "http://backhaul"
            self.session.mount("http://backhaul", _UnixAdapter(way.path))
        self.session.headers.update({name: value for name, value in way.headers.items() if name == "Authorization"})
        self.schema = schemathesis.openapi.from_dict(describe(guard, "1.2.3"))


@contextmanager
def open_door(opening: Opening, guard: Guard) -> Iterator[Door]:
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    ways: list[Way] = []
    ready = threading.Event()

    async def serve() -> None:
        async with opening(SampleOperator()) as way:
            ways.append(way)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        door = Door(ways[0], guard)
        yield door
        door.session.close()
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module", params=["socket", "page"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    path = tmp_path_factory.mktemp("door") / "x.sock"

    def on_socket(operator: SampleOperator) -> AbstractAsyncContextManager[Way]:
        return socket_door(operator, path)

    if request.param == "socket":
        with open_door(on_socket, SocketGuard()) as door:
            yield door
    else:
        with open_door(page_door, PageGuard(("password",))) as door:
            yield door


def visit(door: Door, operation: Operation, mode: Any) -> None:  # noqa: ANN401 - of schemathesis
    """Send a few random requests to an operation, and judge the answers."""
    described = door.schema[operation.path][operation.method]

    @settings(max_examples=6, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=described.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:  # noqa: ANN401 - of schemathesis
        response = case.call(base_url=door.base, session=door.session)
        # A user's address has no pattern in the description, so a text that is valid may be no address.
        excluded = [positive_data_acceptance]
        if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:  # a refusal that schemathesis does not expect
            excluded.append(negative_data_rejection)
        case.validate_response(response, excluded_checks=excluded)

    ask()


@pytest.mark.parametrize("operation", FINITE, ids=lambda operation: operation.name)
def test_answers_are_as_described(door: Door, operation: Operation) -> None:
    visit(door, operation, GenerationMode.POSITIVE)


@pytest.mark.parametrize("operation", [CONNECTIONS, CLOSE, CHECK], ids=lambda operation: operation.name)
def test_wrong_requests_are_refused_as_described(door: Door, operation: Operation) -> None:
    visit(door, operation, GenerationMode.NEGATIVE)


def test_each_operation_is_described() -> None:
    document = describe(SocketGuard(), "1.2.3")
    assert set(document["paths"]) == {operation.path for operation in OPERATIONS}
    assert "security" not in document
    json.dumps(document)


@pytest.mark.parametrize("logins", WAYS)
def test_the_requirements_of_the_page_are_described(logins: tuple[Login, ...]) -> None:
    document = describe(PageGuard(logins), "1.2.3")
    drain = document["paths"]["/api/drain"]["post"]
    assert [parameter["name"] for parameter in drain["parameters"]] == ["X-Backhaul"]
    assert document.get("security", []) == [{login: []} for login in logins]
    assert set(document["components"].get("securitySchemes", {})) == set(logins)
    assert ("401" in drain["responses"]) == ("password" in logins)
    assert ("text/plain; charset=utf-8" in drain["responses"]["403"]["content"]) == (logins == ("certificate",))
    assert "application/json" in drain["responses"]["403"]["content"]


def test_the_description_is_valid() -> None:
    guards: list[Guard] = [SocketGuard(), *map(PageGuard, WAYS)]
    for guard in guards:
        schema = schemathesis.openapi.from_dict(describe(guard, "1.2.3"))
        schema.validate()
