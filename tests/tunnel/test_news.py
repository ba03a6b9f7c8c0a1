"""The events of both ends, and their sending as the configuration requires."""

import asyncio
import contextlib
import functools
import json
import os
import shlex
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.support.clock import Clock
from tests.support.net import HOST, free_port, until
from tests.support.public import Public
from tests.support.tunnel import Net, change, server_config

from backhaul.config.secret import Secret
from backhaul.hooks import DAY, Hooks, is_near
from backhaul.reports import Notice
from backhaul.system.certificate import CERTIFICATE, KEY, make, write
from backhaul.system.log import TUNNEL
from backhaul.tunnel.news import News
from backhaul.tunnel.timings import Timings


async def test_the_client_reports_a_lost_server(net: Net) -> None:
    tunnel = await net.tunnel(80)
    lost: list[Notice] = []
    tunnel.client.news.listener = lost.append
    await net.stop(tunnel.server)
    await until(lambda: lost)
    assert lost[0].event == "lost"
    assert "stop" in lost[0].reason


async def test_the_server_reports_its_client(public: Public) -> None:
    heard: list[Notice] = []
    public.server.news.listener = heard.append
    control = await public.client()
    await until(lambda: heard)
    control.reset()
    await until(lambda: len(heard) == 2)
    assert heard[0] == Notice("connected", peer=HOST)
    assert (heard[1].event, bool(heard[1].reason)) == ("lost", True)


async def test_a_port_that_is_down_is_reported_and_its_return(net: Net) -> None:
    taken = net.listen()
    name = f"{HOST}:{taken.port}"
    server = await net.server(free_port(), [name + "=1"], timings=Timings(reopen_pauses=(0.01,)))
    heard: list[Notice] = []
    server.news.listener = heard.append
    taken.close()
    await until(lambda: heard)
    again = net.listen()
    mapping = msgspec.structs.replace(server.config.ports[0], bind_port=again.port)
    await change(server, ports=(mapping,))
    assert heard == [
        Notice("port_up", port=name),
        Notice("port_down", port=f"{HOST}:{again.port}", reason="address already in use"),
    ]


async def test_a_limit_is_reported_when_it_is_reached(net: Net) -> None:
    tunnel = await net.tunnel(await net.echo(), server="[server.limits]\nmax_users = 1")
    heard: list[Notice] = []
    tunnel.server.news.listener = heard.append
    await tunnel.user()
    with contextlib.suppress(ConnectionResetError):  # at once, or with the first byte
        await tunnel.user()
    await until(lambda: heard)
    (notice,) = heard
    assert (notice.event, notice.limit, notice.port) == ("limit", "max_users", f"{HOST}:{tunnel.ports[0]}")
    assert notice.user.startswith(f"{HOST}:")


def test_a_limit_is_reported_once_a_minute() -> None:
    clock, heard = Clock(), list[Notice]()
    news = News(clock)
    news.listener = heard.append
    for _ in range(3):
        news.limit_hit("max_users", port="*:443", user="192.0.2.1:5")
    news.limit_hit("max_users", port="*:80", user="192.0.2.1:5")
    assert [notice.port for notice in heard] == ["*:443", "*:80"]
    clock.now += 60
    news.limit_hit("max_users", port="*:443", user="192.0.2.2:5")
    assert heard[-1].user == "192.0.2.2:5"


def writing(file: Path) -> Secret:
    """Return the setting of a command that adds each event as a line to a file."""
    return Secret(shlex.join(["sh", "-c", 'cat >>"$0"; echo >>"$0"', str(file)]))


@contextlib.contextmanager
def named(tunnel: str) -> Iterator[None]:
    """Let the log and events name a tunnel."""
    token = TUNNEL.set(tunnel)
    yield
    TUNNEL.reset(token)


def told(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def test_a_reload_begins_changes_and_ends_the_events(net: Net, tmp_path: Path) -> None:
    server = await net.server(free_port())
    hooks = Hooks(server)
    for file in (tmp_path / "one", tmp_path / "two"):
        await hooks.apply(msgspec.structs.replace(server.config, on_event=writing(file)))
        server.news.port_up("*:443")
        await until(functools.partial(told, file))
    await hooks.apply(server.config)
    server.news.port_up("*:80")
    await hooks.close()
    (event,) = told(tmp_path / "two")
    assert event.pop("time").endswith("Z")
    host = socket.gethostname()
    assert event == {"host": host, "side": "server", "transport": "tcp", "event": "port_up", "port": "*:443"}
    assert len(told(tmp_path / "one")) == 1


async def test_the_last_events_leave_before_the_end(net: Net, tmp_path: Path) -> None:
    server, file = await net.server(free_port()), tmp_path / "told"
    hooks = Hooks(server)
    with named("one"):
        await hooks.apply(msgspec.structs.replace(server.config, on_event=writing(file)))
    server.news.port_up("*:443")
    await hooks.close()
    server.news.port_up("*:80")
    (event,) = told(file)
    assert (event["port"], event["tunnel"]) == ("*:443", "one")


async def test_an_event_during_a_change_is_sent_as_the_new_file_says(net: Net, tmp_path: Path) -> None:
    server, file, fifo = await net.server(free_port()), tmp_path / "told", tmp_path / "fifo"
    os.mkfifo(fifo)
    hooks = Hooks(server)
    slow = shlex.join(["sh", "-c", 'echo {} >"$0"; cat "$1"', str(tmp_path / "begun"), str(fifo)])
    await hooks.apply(msgspec.structs.replace(server.config, on_event=Secret(slow)))
    server.news.port_up("*:443")
    await until(lambda: told(tmp_path / "begun"))
    changing = asyncio.create_task(hooks.apply(msgspec.structs.replace(server.config, on_event=writing(file))))
    await asyncio.sleep(0)
    server.news.port_up("*:80")
    await asyncio.to_thread(fifo.write_text, "")
    await changing
    await hooks.close()
    assert [event["port"] for event in told(file)] == ["*:80"]


@pytest.mark.parametrize(("days", "near"), [(-1, True), (13.9, True), (14.1, False)])
def test_a_certificate_is_near_its_end_for_two_weeks(days: float, *, near: bool) -> None:
    assert is_near(1_800_000_000 + days * DAY, 1_800_000_000) is near


async def test_a_certificate_near_its_end_is_an_event_again_and_again(net: Net, tmp_path: Path) -> None:
    write(make(["localhost"], 13, datetime.now(UTC)), tmp_path, force=False)
    server = await net.server(free_port())
    hooks = Hooks(server, look_every=0.01)
    config = server_config("wss", f"{HOST}:1", [], "")
    file, log = str(tmp_path / CERTIFICATE), tmp_path / "told"
    await hooks.apply(msgspec.structs.replace(config, tls_cert=file, on_event=writing(log)))
    await until(lambda: len(told(log)) > 1)
    await hooks.close()
    assert {(event["event"], event["file"]) for event in told(log)} == {("certificate", file)}


@pytest.mark.parametrize(("days", "text"), [(13, "ends on "), (-1, "has ended on ")])
async def test_the_log_names_a_certificate_near_its_end(
    net: Net, tmp_path: Path, caplog: pytest.LogCaptureFixture, days: int, text: str
) -> None:
    pair = make(["localhost"], 13, datetime.now(UTC) + timedelta(days=days - 13))
    write(pair, tmp_path, force=False)
    hooks = Hooks(await net.server(free_port()))
    file = str(tmp_path / CERTIFICATE)
    config = msgspec.structs.replace(server_config("wss", f"{HOST}:1", [], ""), tls_cert=file)
    await hooks.apply(config)
    await until(lambda: f"certificate {file}: {text}{pair.until:%Y-%m-%d}; renew it" in caplog.text)
    await hooks.apply(config)  # changes nothing, so it is not examined again today
    await hooks.close()
    assert caplog.text.count("renew it") == 1


async def test_only_certificates_of_the_present_file_that_end_soon_are_events(net: Net, tmp_path: Path) -> None:
    hooks, log = Hooks(await net.server(free_port()), look_every=0.01), tmp_path / "told"
    files = {}
    for name, days in (("former", 13), ("good", 90), ("near", 12)):
        write(make(["localhost"], days, datetime.now(UTC)), tmp_path / name, force=False)
        files[name] = str(tmp_path / name / CERTIFICATE)
    config = msgspec.structs.replace(server_config("wss", f"{HOST}:1", [], ""), on_event=writing(log))
    await hooks.apply(msgspec.structs.replace(config, tls_cert=files["former"]))
    await until(lambda: told(log))
    page = {"web_port": 2, "web_cert": files["near"], "web_key": files["near"]}
    await hooks.apply(msgspec.structs.replace(config, tls_cert=files["good"], **page))
    before = len(told(log))
    await until(lambda: len(told(log)) > before + 2)
    await hooks.close()
    assert {event["file"] for event in told(log)[before:]} == {files["near"]}


async def test_the_certificate_of_a_page_near_its_end_is_an_event(net: Net, tmp_path: Path) -> None:
    write(make(["localhost"], 13, datetime.now(UTC)), tmp_path, force=False)
    hooks = Hooks(await net.server(free_port()), look_every=0.01)
    file, log = str(tmp_path / CERTIFICATE), tmp_path / "told"
    lines = f'web_port = 2\nweb_cert = "{file}"\nweb_key = "{tmp_path / KEY}"'
    await hooks.apply(msgspec.structs.replace(server_config("tcp", f"{HOST}:1", [], lines), on_event=writing(log)))
    await until(lambda: told(log))
    await hooks.close()
    assert told(log)[0]["file"] == file
