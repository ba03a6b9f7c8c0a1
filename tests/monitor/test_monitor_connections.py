"""The users in flight over HTTP: the list, and who may close them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from tests.monitor.sample import SETTINGS, Tunnel
from tests.support.clock import Clock
from tests.support.connections import USER

from backhaul.addresses import LOCAL, parse_user
from backhaul.monitor.connections import Connections, ConnectionStatus
from backhaul.monitor.connections_api import ConnectionsApi
from backhaul.monitor.http import Request, Response
from backhaul.monitor.machine import measure
from backhaul.monitor.sampler import Sampler
from backhaul.monitor.site import Site, Sources
from backhaul.state import Selection

CLOSE = Request(
    path="/api/connections/close",
    authorization="Basic YWRtaW46c2VjcmV0",
    host="page.example:2060",
    peer="192.0.2.9",
    method="POST",
    content_type="application/json",
    origin="http://page.example:2060",
    intent="close",
    body=b'{"id": 7}',
)


@dataclass
class Users:
    """Users in flight, and the selections that were closed."""

    count: int = 1
    listed: int = 0
    closed: list[Selection] = field(default_factory=list)

    def all(self, _: Selection) -> Iterator[ConnectionStatus | None]:
        self.listed += 1
        return iter([USER, None] * self.count)

    def close(self, selection: Selection) -> Iterator[bool]:
        self.closed.append(selection)
        return iter([True, False, True])


def site(users: Users, *, locked: bool) -> Site:
    settings = replace(SETTINGS, web_user="admin", web_password="secret") if locked else SETTINGS
    tunnel = Tunnel()
    connections = Connections(users.all, users.close)
    return Site(settings, Sources(tunnel.read, dict, Sampler(tunnel.read, measure), connections))


async def asked(users: Users, request: Request = CLOSE, *, locked: bool = True) -> Response:
    return await site(users, locked=locked).respond(request)


@pytest.mark.parametrize("count", [0, 1, 1300])
async def test_the_list(count: int) -> None:
    response = await asked(Users(count), replace(CLOSE, path="/api/connections", method="GET"))
    document = json.loads(response.body)
    assert (document["closable"], len(document["connections"])) == (True, count)
    if count:
        assert document["connections"][-1]["user"] == "192.0.2.1:5000"


async def test_visitors_share_a_list_for_a_moment() -> None:
    users, clock = Users(), Clock()
    api = ConnectionsApi(Connections(users.all, users.close), closable=False, clock=clock)
    first, second = await api.list(), await api.list()
    assert users.listed == 1
    assert first.body is second.body
    clock.now += 1
    await api.list()
    assert users.listed == 2


async def test_a_list_is_not_shared_beyond_the_closing_of_users() -> None:
    users, clock = Users(), Clock()
    api = ConnectionsApi(Connections(users.all, users.close), closable=True, clock=clock)
    await api.list()
    assert (await api.close(CLOSE)).status == 200
    await api.list()
    assert users.listed == 2


@pytest.mark.parametrize(
    ("body", "selection"),
    [
        (b'{"id": 7}', Selection(number=7)),
        (b'{"user": "192.0.2.1"}', Selection(host="192.0.2.1")),
        (b'{"user": "[2001:DB8::1]:53", "port": 443}', Selection(host="2001:db8::1", port=53, bind_port=443)),
    ],
)
async def test_users_are_closed(body: bytes, selection: Selection) -> None:
    users = Users()
    response = await asked(users, replace(CLOSE, body=body))
    assert (response.status, json.loads(response.body), users.closed) == (200, {"closed": 2}, [selection])


@pytest.mark.parametrize("body", [b"", b"{}", b'{"id": 0}', b'{"i": 1}', b'{"user": "x"}', b"[]", b'{"user": "\xff"}'])
async def test_an_unclear_choice_closes_nobody(body: bytes) -> None:
    users = Users()
    assert (await asked(users, replace(CLOSE, body=body))).status == 400
    assert users.closed == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"authorization": ""}, 401),
        ({"method": "GET"}, 405),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content_type": "text/plain"}, 403),
        ({"intent": ""}, 403),
    ],
)
async def test_a_website_can_not_close_users_through_a_browser(changes: dict[str, str], status: int) -> None:
    users = Users()
    assert (await asked(users, replace(CLOSE, **changes))).status == status  # type: ignore[arg-type]
    assert users.closed == []


async def test_a_program_needs_no_origin() -> None:
    users = Users()
    assert (await asked(users, replace(CLOSE, origin=""))).status == 200


async def test_without_a_login_nobody_closes_anything() -> None:
    users = Users()
    request = replace(CLOSE, host="127.0.0.1:2060", origin="http://127.0.0.1:2060", peer="127.0.0.1")
    assert (await asked(users, request, locked=False)).status == 403
    listed = await asked(users, replace(request, path="/api/connections"), locked=False)
    assert json.loads(listed.body)["closable"] is False
    assert users.closed == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:80", ("192.0.2.1", 80)),
        ("2001:DB8::1", ("2001:db8::1", 0)),
        ("[2001:db8::1]", ("2001:db8::1", 0)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        (LOCAL, (LOCAL, 0)),
    ],
)
def test_addresses_of_users_are_read(text: str, expected: tuple[str, int]) -> None:
    assert parse_user(text) == expected


@pytest.mark.parametrize("text", ["", "x", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:999999", "[::1]x", "1.2.3:4:5"])
def test_texts_that_are_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_user(text)
