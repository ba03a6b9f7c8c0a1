"""Each operation of the API, through both doors."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.api import Way, page_door, socket_door
from tests.support.clock import Clock
from tests.support.connections import USER
from tests.support.operator import SampleOperator

from backhaul.api.guards import SocketGuard
from backhaul.api.messages import Choice, Loaded
from backhaul.api.operations import OPERATIONS, Operation
from backhaul.api.service import make_desk
from backhaul.monitor.http_messages import Request, Response
from backhaul.monitor.samples import HistoryStatus, Sample
from backhaul.selection import Selection


@pytest.fixture
def operator() -> SampleOperator:
    return SampleOperator()


@pytest.fixture(params=["socket", "page"])
async def way(request: pytest.FixtureRequest, operator: SampleOperator, tmp_path: Path) -> AsyncIterator[Way]:
    door = socket_door(operator, tmp_path / "x.sock") if request.param == "socket" else page_door(operator)
    async with door as way:
        yield way


async def test_the_status(way: Way, operator: SampleOperator) -> None:
    document = await way.get("/api/status")
    assert set(document) == set((await operator.status()).__struct_fields__)
    assert (document["config"], document["rtt"]) == ("/etc/backhaul/server.toml", 0.0123)


async def test_the_traffic_is_that_of_the_page(operator: SampleOperator, tmp_path: Path) -> None:
    async with socket_door(operator, tmp_path / "x.sock") as way:
        missing = await way.ask("GET", "/api/traffic")
        assert (missing.status, "set web_port" in json.loads(missing.body)["error"]) == (409, True)
        async with page_door(operator) as page:
            assert (await way.get("/api/traffic")).keys() == (await page.get("/api/traffic")).keys()


async def test_the_history(way: Way, operator: SampleOperator) -> None:
    async def history(series: str) -> HistoryStatus:
        return HistoryStatus(60.0, ["*:443"], [Sample(1, 2, 3, 4, 5, 6, 7)] if series == "*:443" else [])

    with operator.board.fed(lambda: pytest.fail("not asked for"), history):
        assert await way.get("/api/history?series=*%3A443") == {
            "now": 60.0,
            "series": ["*:443"],
            "samples": [[1, 2, 3, 4, 5, 6, 7]],
        }
        assert (await way.get("/api/history"))["samples"] == []
    assert (await way.ask("GET", "/api/history")).status == 409


async def test_the_configuration_in_effect(way: Way, operator: SampleOperator) -> None:
    document = await way.get("/api/configuration")
    assert document["file"] == operator.configuration().file
    assert document["settings"] == [{"name": "nodelay", "value": "true", "unit": "", "default": False}]


async def test_the_configuration_needs_a_login(operator: SampleOperator) -> None:
    async with page_door(operator, login=False) as page:
        refused = await page.ask("GET", "/api/configuration")
        assert (refused.status, "web_password" in json.loads(refused.body)["error"]) == (403, True)


@pytest.mark.parametrize("count", [0, 1, 1300])
async def test_the_list(way: Way, operator: SampleOperator, count: int) -> None:
    operator.users.rows = [replace(USER, id=number) for number in range(count)]
    document = await way.get("/api/connections")
    assert [row["id"] for row in document["connections"]] == list(range(count))
    assert (document["closable"], document["next"]) == (True, 0)


@pytest.mark.parametrize(
    ("query", "selection"),
    [
        ("id=7", Selection(number=7)),
        ("user=&port=0", Selection()),
        ("user=192.0.2.1", Selection(host="192.0.2.1")),
        ("user=%5B2001:DB8::1%5D:53&port=443", Selection(host="2001:db8::1", port=53, bind_port=443)),
        ("port=443&protocol=udp", Selection(bind_port=443, protocol="udp")),
        ("client=berlin&target=127.0.0.1:80", Selection(client="berlin", target="127.0.0.1:80")),
    ],
)
async def test_the_list_is_filtered(way: Way, operator: SampleOperator, query: str, selection: Selection) -> None:
    await way.get(f"/api/connections?{query}")
    assert operator.users.listed == [selection]


async def test_pages_follow_one_another_however_users_are_ordered(way: Way, operator: SampleOperator) -> None:
    operator.users.rows = [replace(USER, id=number) for number in (5, 1, 9, 3, 7)]
    after, pages = 0, list[list[int]]()
    while not pages or after:
        document = await way.get(f"/api/connections?limit=2&after={after}")
        pages.append([row["id"] for row in document["connections"]])
        after = document["next"]
    assert pages == [[1, 3], [5, 7], [9]]


@pytest.mark.parametrize(
    "query",
    ["id=x", "id=-1", "port=65536", "user=x", "nonsense=1", "id=1&id=2", "limit=9999999999", "id", "user=%FF"],
)
async def test_a_query_without_meaning_is_refused(way: Way, operator: SampleOperator, query: str) -> None:
    answer = await way.ask("GET", f"/api/connections?{query}")
    assert answer.status == 400
    assert json.loads(answer.body)["error"]
    assert operator.users.listed == []


@pytest.mark.parametrize(
    ("body", "selection"),
    [
        ({"id": 7}, Selection(number=7)),
        ({"user": "192.0.2.1"}, Selection(host="192.0.2.1")),
        ({"user": "[2001:DB8::1]:53", "port": 443}, Selection(host="2001:db8::1", port=53, bind_port=443)),
        ({"protocol": "tcp"}, Selection(protocol="tcp")),
        ({"client": "berlin"}, Selection(client="berlin")),
    ],
)
async def test_users_are_closed(way: Way, operator: SampleOperator, body: object, selection: Selection) -> None:
    assert await way.post("/api/connections/close", body) == {"closed": 1}
    assert operator.users.closed == [selection]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"id": 0}', b'{"i": 1}', b'{"user": "x"}', b"[]", b'{"user": "\xff"}'])
async def test_an_unclear_choice_closes_no_user(way: Way, operator: SampleOperator, body: bytes) -> None:
    assert (await way.ask("POST", "/api/connections/close", body)).status == 400
    assert operator.users.closed == []


async def test_a_reload_tells_its_outcome(way: Way, operator: SampleOperator) -> None:
    operator.loaded = Loaded(loaded=False, problems=("server.toml: not valid",))
    document = await way.post("/api/reload")
    assert (document["loaded"], document["problems"]) == (False, ["server.toml: not valid"])
    operator.stopping = True
    assert (await way.ask("POST", "/api/reload")).status == 409


async def test_the_access_log_is_reopened(way: Way, operator: SampleOperator) -> None:
    operator.access_log = "/var/log/access.log"
    assert await way.post("/api/reopen") == {"access_log": "/var/log/access.log"}
    assert operator.done == ["reopen"]


async def test_a_configuration_is_checked(way: Way, operator: SampleOperator) -> None:
    text = "[server]\n" + "#" * 200_000
    assert (await way.post("/api/check", {"text": text}))["valid"]
    assert not (await way.post("/api/check"))["valid"]
    assert operator.done == [f"check {text}", "check "]


async def test_draining_and_its_end(way: Way, operator: SampleOperator) -> None:
    assert await way.post("/api/drain") == {"draining": True, "users": 1}
    assert await way.post("/api/resume") == {"draining": False, "users": 1}
    assert operator.done == ["drain", "resume"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_other_methods_are_refused(way: Way, operator: SampleOperator, operation: Operation) -> None:
    for method in {"GET", "POST", "PUT", "DELETE", "OPTIONS"} - {operation.method}:
        answer = await way.ask(method, operation.path)
        assert answer.status == 405
        assert operation.method in answer.headers["allow"]
    assert operator.done == []


async def test_head_has_no_body(way: Way) -> None:
    answer = await way.ask("HEAD", "/api/status")
    assert (answer.status, answer.body) == (200, b"")


async def test_an_unknown_operation(way: Way) -> None:
    for path in ("/api/", "/api/nothing", "/api/status/", "/api//status"):
        answer = await way.ask("GET", path)
        assert (answer.status, "openapi.json" in json.loads(answer.body)["error"]) == (404, True)


@pytest.mark.parametrize(
    ("changes", "body", "status"),
    [
        ({"Content_Length": "300000"}, b"{", 413),
        ({"Content_Length": "9" * 30}, b"{", 400),
        ({"Content_Length": "", "Transfer_Encoding": "chunked"}, b"0\r\n\r\n", 411),
        ({"Content_Type": "text/plain"}, b"{}", 415),
        ({"Content_Type": ""}, b"{}", 415),
        ({}, b"{" + b'"a":[' * 90_000, 413),
        ({}, b'{"text":' + b"[" * 20_000, 400),
    ],
)
async def test_bodies_are_bounded(
    way: Way, operator: SampleOperator, changes: dict[str, str], body: bytes, status: int
) -> None:
    answer = await way.ask("POST", "/api/check", body, **changes)
    assert answer.status == status
    assert operator.done == []


async def test_curl_is_told_to_continue_with_a_long_body(way: Way, operator: SampleOperator) -> None:
    reader, writer = await way.open()
    body = json.dumps({"text": "x" * 5000}).encode()
    writer.write(way.request("POST", "/api/check", body, Expect="100-continue")[: -len(body)])
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.transport.abort()
    assert len(operator.done) == 1


async def listed(clock: Clock, operator: SampleOperator, *targets: tuple[str, str]) -> list[bytes]:
    """Send these requests to one desk; after each of them 0.3 s pass."""
    desk = make_desk(operator, SocketGuard(), clock)
    bodies = []
    for method, target in targets:
        path, _, query = target.partition("?")
        answer = await desk(Request(path, method=method, query=query))
        assert isinstance(answer, Response)
        bodies.append(answer.body)
        clock.now += 0.3
    return bodies


async def test_visitors_share_a_list_for_a_moment(operator: SampleOperator) -> None:
    every = ("GET", "/api/connections")
    first, second, _ = await listed(Clock(), operator, every, every, every)
    assert first is second
    assert len(operator.users.listed) == 2


async def test_a_part_of_the_list_is_not_shared(operator: SampleOperator) -> None:
    await listed(Clock(), operator, ("GET", "/api/connections"), ("GET", "/api/connections?port=443"))
    assert operator.users.listed == [Selection(), Selection(bind_port=443)]


async def test_a_list_is_not_shared_beyond_the_closing_of_users(operator: SampleOperator) -> None:
    desk = make_desk(operator, SocketGuard(), Clock())

    async def body(_: int) -> bytes:
        return b'{"port": 443}'

    for _ in range(2):
        await desk(Request("/api/connections"))
        await desk(
            Request("/api/connections/close", method="POST", content_type="application/json; charset=utf-8", read=body)
        )
    assert len(operator.users.listed) == 2


async def test_others_have_their_turn_while_a_long_list_is_made(operator: SampleOperator) -> None:
    operator.users.rows = [USER] * 5000
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(others())
    await listed(Clock(), operator, ("GET", "/api/connections"))
    busy.cancel()
    assert turns > 40


def test_a_choice_is_written_without_unset_fields() -> None:
    assert Choice(id=7).selection == Selection(number=7)
