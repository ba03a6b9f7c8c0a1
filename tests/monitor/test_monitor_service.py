import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.monitor.sample import SETTINGS, Tunnel, port, program
from tests.monitor.visitor import get, parse
from tests.support.authority import SERVER, Authority, trusting
from tests.support.net import free_port, until

from backhaul.monitor.service import start
from backhaul.monitor.traffic import NotSampledError
from backhaul.net.unix_sockets import listen_at

pytestmark = pytest.mark.both_loops


async def test_serves_page_numbers_and_metrics_until_stopped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "backhaul")
    web_port = free_port()
    monitor = await start(replace(SETTINGS, web_port=web_port), program(Tunnel(port(443, sent=5))))
    page = await get(web_port, "/")
    assert page.status == 200
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert b"<title>Backhaul</title>" in page.body
    assert json.loads((await get(web_port, "/data")).body) == [{"Port": 443, "ReadableUsage": "5 B"}]
    assert (
        b'backhaul_tunnel_usage{transport="tcpmux",side="server",port="443"} 5\n'
        in (await get(web_port, "/metrics")).body
    )
    await monitor.stop()
    with pytest.raises(ConnectionRefusedError):
        await get(web_port, "/")
    assert caplog.messages == [f"monitoring page on http://127.0.0.1:{web_port}/"]


async def test_the_history_grows_while_it_runs() -> None:
    shown = program(Tunnel())
    with pytest.raises(NotSampledError, match="set web_port"):
        shown.board.read()
    monitor = await start(replace(SETTINGS, web_port=free_port(), interval=0.001), shown)
    await until(lambda: len(shown.board.read().history) > 1)
    await monitor.stop()
    with pytest.raises(NotSampledError):
        shown.board.read()


async def test_a_port_in_use_costs_only_the_page(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    web_port = free_port()
    first = await start(replace(SETTINGS, web_port=web_port), program(Tunnel()))
    log = tmp_path / "usage.json"
    tunnel = Tunnel()
    second = await start(
        replace(SETTINGS, web_port=web_port, sniffer=True, sniffer_log=str(log)),
        program(tunnel),
    )
    assert (first.whole, second.whole) == (True, False)
    tunnel.say(ports=(port(443, sent=5),))
    await second.stop()
    await first.stop()
    line = f"web_port: can't listen on 127.0.0.1:{web_port}: address already in use; going on without the page"
    assert [(record.levelname, record.message) for record in caplog.records] == [("ERROR", line)]
    assert json.loads(log.read_bytes()) == [{"Port": 443, "Usage": 5}]


async def test_a_page_on_a_unix_socket(
    caplog: pytest.LogCaptureFixture, tmp_path_factory: pytest.TempPathFactory
) -> None:
    caplog.set_level("INFO", "backhaul")
    path = tmp_path_factory.mktemp("unix") / "page.sock"
    settings = replace(SETTINGS, web_bind=str(path), open_page=lambda: listen_at(str(path)))
    monitor = await start(settings, program(Tunnel()))
    second = await start(settings, program(Tunnel()))
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET / HTTP/1.1\r\nHost: public.example\r\n\r\n")  # as a proxy does
    assert parse(await reader.read()).status == 200
    writer.close()
    await second.stop()
    await monitor.stop()
    assert not await asyncio.to_thread(path.exists)
    taken = "another program listens on it; stop it, or choose another path; going on without the page"
    assert caplog.messages == [f"monitoring page on unix:{path}", f"web_bind: can't listen on unix:{path}: {taken}"]


async def test_a_page_within_tls(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level("INFO", "backhaul")
    authority, web_port = Authority.make(tmp_path), free_port()
    pair, admin = authority.issue("page", (SERVER,)), authority.issue("admin")
    settings = replace(SETTINGS, web_port=web_port, web_client_ca=str(authority.file))
    monitor = await start(replace(settings, web_cert=pair.cert, web_key=pair.key), program(Tunnel()))
    statuses = [await status_of(web_port, context) for context in (trusting(authority), trusting(authority, admin))]
    await monitor.stop()
    assert statuses == [403, 200]
    assert caplog.messages == [f"monitoring page on https://127.0.0.1:{web_port}/"]


async def status_of(web_port: int, context: ssl.SSLContext) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", web_port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: public.example\r\n\r\n")
    answer = parse(await reader.read())
    writer.transport.abort()
    return answer.status


async def test_a_missing_certificate_is_reported_before_a_visitor_comes(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO", "backhaul")
    cert, key = Authority.make(tmp_path).issue("page", (SERVER,))
    settings = replace(SETTINGS, web_port=free_port(), web_cert=cert, web_key=key, look_every=0.01)
    monitor = await start(settings, program(Tunnel()))
    shutil.move(cert, tmp_path / "away")
    await until(lambda: f"web_cert {cert}: unusable with web_key {key}: No such file" in caplog.text)
    shutil.move(tmp_path / "away", cert)
    await until(lambda: f"certificate {cert}: usable again and in use" in caplog.text)
    await monitor.stop()


async def test_unusable_files_cost_the_page(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    (cert, _), (_, key) = authority.issue("one"), authority.issue("two")
    settings = replace(SETTINGS, web_port=free_port(), web_cert=cert, web_key=key)
    monitor = await start(settings, program(Tunnel()))
    await monitor.stop()
    assert not monitor.whole
    [line] = caplog.messages
    assert line.startswith(f"web_cert {cert}: unusable with web_key {key}: the key belongs to another certificate; ")
    assert line.endswith("; going on without the page, which is tried again at the next reload")


async def test_an_address_of_another_machine_costs_the_page(caplog: pytest.LogCaptureFixture) -> None:
    monitor = await start(replace(SETTINGS, web_bind="192.0.2.1", web_port=free_port()), program(Tunnel()))
    await monitor.stop()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "web_port: can't listen on 192.0.2.1:" in caplog.text


@pytest.mark.parametrize("bind", ["0.0.0.0", "::"])
async def test_all_addresses_includes_both_families(bind: str) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    web_port = free_port()
    monitor = await start(replace(SETTINGS, web_bind=bind, web_port=web_port), program(Tunnel()))
    assert monitor.whole
    for host in ("127.0.0.1", "::1"):
        _, writer = await asyncio.open_connection(host, web_port)
        writer.transport.abort()
    await monitor.stop()


async def test_the_page_shows_the_usage_of_all_runs(tmp_path: Path) -> None:
    log = tmp_path / "usage.json"
    log.write_text('[{"Port":443,"Usage":1000}]')
    web_port = free_port()
    tunnel = Tunnel()
    monitor = await start(replace(SETTINGS, web_port=web_port, sniffer=True, sniffer_log=str(log)), program(tunnel))
    tunnel.say(ports=(port(443, sent=24),))
    assert json.loads((await get(web_port, "/data")).body) == [{"Port": 443, "ReadableUsage": "1.00 KB"}]
    await monitor.stop()
    assert json.loads(log.read_bytes()) == [{"Port": 443, "Usage": 1024}]


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_without_page_and_usage_log_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monitor = await start(SETTINGS, program(Tunnel(port(443, sent=5))))
    await monitor.stop()
    assert names(tmp_path) == []


SITE = """
from dataclasses import replace
from backhaul.monitor.machine import measure
from backhaul.monitor.sampler import Sampler
from backhaul.monitor.site import Site
from backhaul.monitor.sources import Sources
from tests.monitor.sample import SETTINGS, Tunnel, no_api
tunnel = Tunnel()
sources = Sources(tunnel.survey, dict, Sampler(tunnel.totals, measure))
Site(replace(SETTINGS, metrics=("{metrics}",)), sources, no_api)
"""


def libraries_of(script: str, *libraries: str) -> str:
    """Return which libraries are loaded after a script."""
    script += f"\nimport sys; print(*{{*{libraries}}} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_without_a_page_its_libraries_stay_out_of_memory() -> None:
    assert not libraries_of("import backhaul.monitor", "psutil", "prometheus_client", "httptools")


def test_without_metrics_their_library_stays_out_of_memory() -> None:
    assert not libraries_of(SITE.format(metrics="default"), "prometheus_client")


def test_with_metrics_their_library_is_loaded_ahead_of_the_first_scrape() -> None:
    assert libraries_of(SITE.format(metrics="prometheus"), "prometheus_client") == "prometheus_client"
