"""The stream of events: kept ones, new ones, those that a reader has missed, and readers that do not read."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.monitor.visitor import PATIENCE
from tests.support.api import Way, page_door, socket_door
from tests.support.net import until
from tests.support.operator import SampleOperator

from backhaul.api.follow import follow
from backhaul.monitor.events import KEPT_EVENTS, EventLog

pytestmark = pytest.mark.both_loops


@pytest.fixture
def operator() -> SampleOperator:
    return SampleOperator()


@pytest.fixture
def way_limits() -> dict[str, Any]:
    return {}


@pytest.fixture
async def way(operator: SampleOperator, tmp_path: Path, way_limits: dict[str, Any]) -> AsyncIterator[Way]:
    async with socket_door(operator, tmp_path / "x.sock", **way_limits) as way:
        yield way


def say(log: EventLog, *texts: str) -> None:
    for text in texts:
        log.handle(logging.LogRecord("backhaul", logging.INFO, "", 0, text, (), None))


class Reader:
    """A reader of the stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, way: Way, target: str = "/api/events", **headers: str) -> "Reader":
        reader, writer = await way.open()
        writer.write(way.request("GET", target, b"", **headers))
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
            assert b"Content-Type: text/event-stream\r\n" in head
            assert await reader.readuntil(b"\n\n") == b"retry: 2000\n\n"
        return cls(reader, writer)

    async def next(self) -> dict[str, str]:
        async with asyncio.timeout(PATIENCE):
            block = (await self._reader.readuntil(b"\n\n")).decode()
        fields = (line.partition(": ") for line in block.splitlines() if line)
        return {name: value for name, _, value in fields}

    async def texts(self, count: int) -> list[str]:
        return [(await self.next())["data"].rpartition('"text":"')[2].removesuffix('"}') for _ in range(count)]

    def close(self) -> None:
        self._writer.transport.abort()


async def test_a_reader_gets_kept_and_new_events(way: Way, operator: SampleOperator) -> None:
    say(operator.events, "one", "two")
    reader = await Reader.open(way)
    assert await reader.texts(2) == ["one", "two"]
    say(operator.events, "three", "a\nb")
    assert await reader.texts(2) == ["three", r"a\\nb"]
    reader.close()


@pytest.mark.parametrize("form", ["header", "query"])
async def test_a_reader_that_returns_gets_the_rest(way: Way, operator: SampleOperator, form: str) -> None:
    say(operator.events, "one", "two")
    reader = await Reader.open(way)
    first = (await reader.next())["id"]
    reader.close()
    if form == "header":
        reader = await Reader.open(way, Last_Event_ID=first)
    else:
        reader = await Reader.open(way, f"/api/events?last_event_id={first}")
    assert await reader.texts(1) == ["two"]
    reader.close()


@pytest.mark.parametrize("last", ["0-1", "nonsense", "-1", "18eb-x", "é"])
async def test_the_events_of_another_run_are_not_missing_here(way: Way, operator: SampleOperator, last: str) -> None:
    say(operator.events, "one")
    reader = await Reader.open(way, Last_Event_ID=last)
    assert await reader.texts(1) == ["one"]
    reader.close()


async def test_a_reader_learns_how_many_events_are_missing(way: Way, operator: SampleOperator) -> None:
    say(operator.events, "one")
    reader = await Reader.open(way)
    last = (await reader.next())["id"]
    reader.close()
    say(operator.events, *("x" * KEPT_EVENTS), "y")
    reader = await Reader.open(way, Last_Event_ID=last)
    assert await reader.next() == {"event": "missed", "data": '{"count":1}'}
    assert len(await reader.texts(KEPT_EVENTS)) == KEPT_EVENTS
    reader.close()


async def test_a_silent_stream_shows_that_it_is_alive() -> None:
    stream = follow(EventLog(), "", beat=0.001)
    assert [await anext(stream) for _ in range(3)] == [b"retry: 2000\n\n", b":\n\n", b":\n\n"]
    await stream.aclose()


@pytest.mark.parametrize("way_limits", [{"max_streams": 2}])
async def test_readers_are_few_and_leave_room_for_others(way: Way, operator: SampleOperator) -> None:
    readers = [await Reader.open(way) for _ in range(2)]
    refused = await way.exchange(way.request("GET", "/api/events"))
    assert refused.startswith(b"HTTP/1.1 503 ")
    readers.pop().close()
    await until(lambda: operator.events.followers == 1)
    readers.append(await Reader.open(way))
    assert (await way.get("/api/status"))["connected"]
    for reader in readers:
        reader.close()


@pytest.mark.parametrize("way_limits", [{"patience": 0.05}])
async def test_a_reader_that_does_not_read_is_cut_off(way: Way, operator: SampleOperator) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(way.path)
        sock.sendall(way.request("GET", "/api/events"))
        await until(lambda: operator.events.followers)
        while operator.events.followers:
            say(operator.events, "x" * 500)
            await asyncio.sleep(0)
        sock.setblocking(False)
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionResetError):
                while await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
                    pass


async def test_a_stream_ends_with_the_server(operator: SampleOperator, tmp_path: Path) -> None:
    async with socket_door(operator, tmp_path / "x.sock") as way:
        reader = await Reader.open(way)
    with pytest.raises(asyncio.IncompleteReadError):
        await reader.next()
    assert operator.events.followers == 0
    reader.close()


async def test_the_page_asks_for_the_login(operator: SampleOperator) -> None:
    async with page_door(operator) as way:
        assert (await way.ask("GET", "/api/events", Authorization="")).status == 401
        say(operator.events, "one")
        reader = await Reader.open(way)
        assert await reader.texts(1) == ["one"]
        reader.close()


async def test_head_of_a_stream_ends_at_once(way: Way, operator: SampleOperator) -> None:
    answer = await way.exchange(way.request("HEAD", "/api/events"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert operator.events.followers == 0


async def test_lines_of_other_threads_arrive(way: Way, operator: SampleOperator) -> None:
    reader = await Reader.open(way)
    await asyncio.to_thread(say, operator.events, "from afar")
    assert await reader.texts(1) == ["from afar"]
    reader.close()
