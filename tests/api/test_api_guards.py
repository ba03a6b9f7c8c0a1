"""The requests that may change something through the page's port, and those that may not."""

import json
from pathlib import Path

import pytest
from tests.support.api import LOGIN, page_door, socket_door
from tests.support.operator import SampleOperator

from backhaul.api.operations import OPERATIONS

CHANGES = [operation.path for operation in OPERATIONS if operation.method == "POST"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Basic bm9ib2R5Og=="}, 401),
        ({"X_Backhaul": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost"}, 403),  # another port of this machine is another website
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "none"}, 403),
    ],
)
@pytest.mark.parametrize("path", CHANGES)
async def test_a_website_can_not_change_anything_through_a_browser(
    path: str, headers: dict[str, str], status: int
) -> None:
    operator = SampleOperator()
    async with page_door(operator) as way:
        assert (await way.ask("POST", path, {"id": 7}, **headers)).status == status
    assert (operator.done, operator.users.closed) == ([], [])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:2060", "Sec_Fetch_Site": "same-origin"},
        {"Origin": "https://localhost:2060"},  # behind a proxy with TLS
    ],
)
async def test_the_page_and_programs_may(headers: dict[str, str]) -> None:
    operator = SampleOperator()
    async with page_door(operator) as way:
        assert (await way.ask("POST", "/api/drain", **headers)).status == 200
    assert operator.done == ["drain"]


@pytest.mark.parametrize("path", CHANGES)
async def test_without_a_login_nothing_can_be_changed(path: str) -> None:
    operator = SampleOperator()
    async with page_door(operator, login=False) as way:
        answer = await way.ask("POST", path, {"id": 7}, Authorization=LOGIN)
        assert (answer.status, "set web_user" in json.loads(answer.body)["error"]) == (403, True)
        assert not (await way.get("/api/connections"))["closable"]
    assert (operator.done, operator.users.closed) == ([], [])


async def test_the_body_of_a_stranger_is_not_kept() -> None:
    """The server receives and discards it, so that the visitor reads the answer."""
    async with page_door(SampleOperator()) as way:
        answer = await way.ask("POST", "/api/check", b"x" * 900_000, Authorization="")
        assert answer.status == 401


async def test_guesses_at_the_password_are_slowed_down() -> None:
    async with page_door(SampleOperator()) as way:
        guesses = [await way.ask("POST", "/api/drain", Authorization="Basic YWRtaW46eA==") for _ in range(7)]
        assert [answer.status for answer in guesses] == [401] * 6 + [429]
        assert (await way.ask("POST", "/api/drain")).status == 429


async def test_the_status_socket_needs_no_header(tmp_path: Path) -> None:
    operator = SampleOperator()
    async with socket_door(operator, tmp_path / "x.sock") as way:
        await way.post("/api/drain")
    assert operator.done == ["drain"]
