"""The commands ``backhaul connections`` and ``backhaul close``."""

import asyncio
import json
import os
import pty
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.monitor.sample import Tunnel
from tests.support.connections import USER
from tests.support.documents import documents
from tests.support.net import PATIENCE
from tests.support.operator import SampleOperator, Users

from backhaul.api.guards import SocketGuard
from backhaul.api.service import make_desk
from backhaul.cli.connections import Rates
from backhaul.monitor.connections import ConnectionStatus
from backhaul.monitor.http import HttpServer
from backhaul.selection import Selection
from backhaul.system.status_socket import serving, socket_path

BIG = replace(USER, sent=5 * 2**20)
FLOW = replace(USER, id=8, protocol="udp", user="[2001:db8::1]:53", carrier="tcpmux", sent=10)


def program(config: str, users: Users) -> AbstractAsyncContextManager[object]:
    desk = make_desk(SampleOperator(users, Tunnel(config=config)), SocketGuard())
    return serving(socket_path(config), HttpServer(desk))


async def test_users_are_shown_in_a_table(command: Callable[..., Any]) -> None:
    async with program("server.toml", Users([FLOW, BIG])):
        code, output, errors = await command("connections", "--sort", "sent")
    assert (code, errors) == (0, "")
    title, head, first, second = output.splitlines()
    assert title == "server: 2 users"
    assert " ".join(head.split()) == "id age user port target from user to user state client carrier"
    assert first.split()[0] == "7"
    assert "5.00 MiB  open   berlin  tcpmux stream 3 of session 8" in first
    assert "[2001:db8::1]:53" in second
    assert second.endswith("tcpmux, UDP")


async def test_columns_that_a_client_does_not_know_are_left_out(command: Callable[..., Any]) -> None:
    async with program("client.toml", Users([replace(USER, user="", port="", client="")])):
        _, output, _ = await command("connections")
    assert " ".join(output.splitlines()[1].split()) == "id age target from user to user state carrier"


async def test_json_holds_every_field(command: Callable[..., Any]) -> None:
    async with program("server.toml", Users([USER])):
        code, output, _ = await command("connections", "--json")
    (document,) = json.loads(output)
    (connection,) = document["connections"]
    assert code == 0
    assert set(connection) == set(ConnectionStatus.__struct_fields__)
    assert document["config"] == "server.toml"


@pytest.mark.parametrize(
    ("arguments", "selection"),
    [
        (["--user", "192.0.2.1"], Selection(host="192.0.2.1")),
        (["--user", "192.0.2.1:5000"], Selection(host="192.0.2.1", port=5000)),
        (["--user", "2001:DB8::1"], Selection(host="2001:db8::1")),
        (["--port", "443/udp"], Selection(bind_port=443, protocol="udp")),
        (["--user", "[2001:db8::1]:53", "--port", "443"], Selection(host="2001:db8::1", port=53, bind_port=443)),
        (["--client", "berlin & paris"], Selection(client="berlin & paris")),
    ],
)
async def test_the_program_gets_the_choice(
    arguments: list[str], selection: Selection, command: Callable[..., Any]
) -> None:
    users = Users([USER])
    async with program("server.toml", users):
        assert (await command("connections", *arguments))[0] == 0
        assert (await command("close", *arguments)) == (0, "1 user closed\n", "")
    assert (users.listed, users.closed) == ([selection], [selection])


async def test_no_user_to_close_is_a_failure(command: Callable[..., Any]) -> None:
    async with program("server.toml", Users([])):
        assert await command("close", "7") == (1, "0 users closed\n", "")
    code, output, errors = await command("close", "7")  # nothing runs any more
    assert (code, output, errors.count("\n")) == (1, "", 1)


async def test_an_id_needs_the_name_of_one_program(command: Callable[..., Any]) -> None:
    first, second = Users([USER]), Users([USER])
    async with program("/a/first.toml", first), program("/a/second.toml", second):
        code, output, errors = await command("close", "7")
        assert (code, output) == (1, "")
        assert "/a/first.toml, /a/second.toml" in errors
        assert (await command("close", "7", "-c", "/a/second.toml"))[0] == 0
    assert (first.closed, second.closed) == ([], [Selection(number=7)])


@pytest.mark.parametrize(
    "arguments",
    [["close"], ["close", "x"], ["close", "--user", "x"], ["close", "--port", "0"], ["close", "--port", "443/sctp"]],
)
async def test_a_wrong_choice_is_a_usage_error(arguments: list[str], command: Callable[..., Any]) -> None:
    assert (await command(*arguments))[0] == 2


async def test_a_list_of_another_version_is_one_line(folder: Path, command: Callable[..., Any]) -> None:
    async with serving(socket_path("new.toml"), documents(lambda: {"connections": [{"id": 7}]})):
        code, output, errors = await command("connections")
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert "another version of the program" in errors


async def test_many_rows_arrive_whole(command: Callable[..., Any]) -> None:
    async with program("server.toml", Users([replace(USER, id=number) for number in range(3001)])):
        _, output, _ = await command("connections", "--json")
    assert [row["id"] for row in json.loads(output)[0]["connections"]] == list(range(3001))


def test_rates_come_from_two_looks() -> None:
    clock = iter([0.0, 2.0, 3.0])
    rates = Rates(lambda: next(clock))
    assert rates.of("x", USER) == (0, 0)
    rates.next_look()
    assert rates.of("x", replace(USER, received=USER.received + 100, sent=USER.sent + 6)) == (50, 3)
    rates.next_look()
    rates.next_look()
    assert rates.of("x", USER) == (0, 0)


async def test_watch_draws_until_a_key(folder: Path) -> None:
    async with program("server.toml", Users([USER])):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "backhaul", "connections", "--watch", "-c", "server.toml"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "40"}
        process = await asyncio.create_subprocess_exec(*command, stdin=theirs, stdout=theirs, env=environment)
        os.close(theirs)
        screen = ""
        while "192.0.2.1:5000" not in screen:
            screen += (await asyncio.wait_for(asyncio.to_thread(os.read, ours, 1 << 16), PATIENCE)).decode()
        os.write(ours, b"xq")
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        os.close(ours)
    assert "(q ends)" in screen


async def test_watch_needs_a_terminal(command: Callable[..., Any]) -> None:
    code, _, errors = await command("connections", "--watch")
    assert (code, "needs a terminal" in errors) == (2, True)
