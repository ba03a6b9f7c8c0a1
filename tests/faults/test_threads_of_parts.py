"""The parts of an end beside its tunnel, while it can start no thread: each goes on, or names the reason."""

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.monitor.sample import SETTINGS, Tunnel
from tests.monitor.test_monitor_site import make_site
from tests.monitor.test_monitor_usage import saved, set_loads
from tests.support.documents import documents
from tests.support.net import HOST, Sockets, free_port, until
from tests.support.threadless import threadless
from tests.support.tunnel import Net
from tests.support.web import answer_to, knock

from backhaul.doctor.diagnosis import diagnose, local
from backhaul.doctor.finding import Finding
from backhaul.errors import MEMORY_ADVICE
from backhaul.monitor.history import keeping_history
from backhaul.monitor.http import HttpServer
from backhaul.monitor.http_messages import Request, Response
from backhaul.monitor.traffic import NotSampledError
from backhaul.monitor.usage import keeping
from backhaul.reports import UserEnd
from backhaul.system.access_log import AccessLog
from backhaul.system.access_sinks import FileSink
from backhaul.system.certificate import CERTIFICATE, make, write
from backhaul.system.event_ways import way_to
from backhaul.system.log_output import LogOutput
from backhaul.system.status_socket import serving, socket_name

NO_THREAD = "can't start new thread"
ADVICE = f"out of memory or threads; reconnecting, users in flight stay: {MEMORY_ADVICE}"


async def test_a_client_connects_when_there_is_a_thread(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    tunnel = await net.tunnel(await net.echo())
    await net.stop(tunnel.server)
    with threadless():
        await until(lambda: ADVICE in caplog.text)
    await net.server(tunnel.bind_port)
    await until(lambda: tunnel.client.tunnel.connected)
    assert caplog.text.count(ADVICE) == 1
    assert "internal error" not in caplog.text


@pytest.mark.both_loops
async def test_a_page_opens_at_an_address(net: Sockets) -> None:
    server = HttpServer(_respond)
    with threadless():
        await net.dial(await server.start(HOST, 0))
        with pytest.raises(OSError, match=NO_THREAD):
            await server.start("localhost", 0)
    await server.stop()


async def _respond(_: Request) -> Response:
    return Response(b"")


@pytest.mark.both_loops
async def test_an_event_goes_to_an_address_only(net: Sockets) -> None:
    listener = net.listen()
    with threadless():
        with pytest.raises(OSError, match=NO_THREAD):
            await way_to(f"http://localhost:{listener.port}/")[1](b"{}")
        with pytest.raises(OSError, match=NO_THREAD):
            await way_to(f"https://{HOST}:{listener.port}/")[1](b"{}")
        sending = asyncio.create_task(way_to(f"http://{HOST}:{listener.port}/")[1](b"{}"))
        await (await listener.accept()).send(b"HTTP/1.1 204 No Content\r\n\r\n")
        await sending


async def test_metrics_lack_the_ends_of_certificates(tmp_path: Path) -> None:
    write(make(["localhost"], 10, datetime.now(UTC)), tmp_path, force=False)
    site = make_site(replace(SETTINGS, certificates=(str(tmp_path / CERTIFICATE),)))
    request = Request("/metrics", "", "", "192.0.2.1")
    with threadless():
        assert b"certificate" not in _body(await site.respond(request))
    assert b"certificate" in _body(await site.respond(request))


def _body(answer: object) -> bytes:
    assert isinstance(answer, Response)
    assert answer.status == 200
    return b"".join((answer.body, *answer.more))


async def test_the_history_can_be_read_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with keeping_history(str(tmp_path / "history"), Tunnel().read) as history:
        with threadless(), pytest.raises(NotSampledError, match=NO_THREAD):
            await history("")
        assert (await history("")).samples == []
    with threadless():
        async with keeping_history(str(tmp_path / "other"), Tunnel().read) as history:
            pass
    assert (
        f"{tmp_path}/other: {NO_THREAD}; the page has no history; correct that and restart the program" in caplog.text
    )


async def test_the_last_minute_of_the_history_is_kept(tmp_path: Path) -> None:
    with contextlib.ExitStack() as end:
        async with keeping_history(str(tmp_path / "history"), Tunnel().read):
            end.enter_context(threadless())
    async with keeping_history(str(tmp_path / "history"), Tunnel().read) as history:
        assert len((await history("")).samples) == 1


async def test_the_usage_of_all_runs_is_kept(tmp_path: Path) -> None:
    tunnel, path = Tunnel(), tmp_path / "usage.json"
    path.write_text('[{"Port": 443, "Usage": 7}]')
    with threadless():
        async with keeping(str(path), tunnel.read):
            set_loads(tunnel, (443, 2, 1))
    assert saved(path) == {443: 10}


def _lines(users: list[UserEnd]) -> bytes:
    return b"".join(b"%d\n" % user.id for user in users)


def _user(number: int) -> UserEnd:
    return UserEnd("", number, "tcp", "192.0.2.1", 5000, "*:443", "", "127.0.0.1:80", 1, 2, 0.25, "user")


async def test_the_access_log_is_written_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "access.log"
    with threadless():
        log = AccessLog(FileSink(str(file), 0), _lines, interval=0)
        log.write(_user(1))
        await until(lambda: caplog.messages)
    assert caplog.messages == [f"access_log: can't write to {file}: {NO_THREAD}; lines wait until that works"]
    log.write(_user(2))
    await until(lambda: file.exists() and file.read_bytes() == b"1\n2\n")
    await until(lambda: len(caplog.messages) > 1)
    assert caplog.messages[1] == "access_log: writable again; no lines were lost"
    await log.close()


async def test_the_last_lines_of_the_access_log_are_written_without_a_thread(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    with threadless():
        log = AccessLog(FileSink(str(file), 0), _lines)
        log.write(_user(1))
        await log.close()
    assert file.read_bytes() == b"1\n"


async def test_the_log_is_written_as_far_as_its_reader_takes_it() -> None:
    reader, writer = os.pipe()
    output = LogOutput(writer, "ascii")
    lines = [f"{number:099}\n" for number in range(3000)]
    with threadless():
        for line in lines:
            output.write(line)
        data = os.read(reader, 10_000)
        output.write("a line\n")
    while len(data) < 300_007:
        output.finish(0)
        data += os.read(reader, 1 << 20)
    assert data.decode() == "".join([*lines, "a line\n"])
    output.finish()
    os.close(reader)
    os.close(writer)


async def test_a_terminal_shows_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    reader, terminal = os.openpty()
    with threadless():
        LogOutput(terminal, "ascii").write("a line\n")
        with open(reader, "rb") as shown:  # noqa: PTH123, ASYNC230 - a descriptor; its line may come in pieces
            assert shown.readline() == b"a line\r\n"
    os.close(terminal)


async def test_a_website_of_files_answers_with_an_error(net: Net, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello")
    net.transport = "ws"
    port = free_port()
    await net.server(port, lines=f'decoy = "{tmp_path}"')
    with threadless():
        assert b"500 Internal Server Error" in await answer_to(net, port, knock("/"))
    assert b"200 OK" in await answer_to(net, port, knock("/"))


async def test_a_process_notices_its_successor_later(tmp_path: Path) -> None:
    path, door = tmp_path / socket_name("x.toml"), documents(lambda: {"config": "x.toml"})
    async with serving(path, documents(dict)) as replaced:
        path.rename(tmp_path / "former")
        async with serving(path, door):
            with threadless():
                for _ in range(3):
                    assert not replaced()
                    await asyncio.sleep(0)
            await until(replaced)


async def test_a_process_that_ends_before_it_notices_its_successor_reports_no_defect(tmp_path: Path) -> None:
    path, door, failures = tmp_path / socket_name("x.toml"), documents(dict), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    async with serving(path, door) as replaced:
        path.rename(tmp_path / "former")
        path.touch()
        with threadless():
            assert not replaced()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    del replaced
    gc.collect()
    assert not failures


async def test_a_check_of_the_doctor_has_a_remedy() -> None:
    def examine() -> Iterable[Finding]:
        return []

    with threadless():
        (finding,) = await diagnose([local("files", examine)], 1.0)
    assert (finding.text, finding.remedy) == (f"this check has no memory or no thread: {NO_THREAD}", MEMORY_ADVICE)
