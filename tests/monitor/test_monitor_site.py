import asyncio
import base64
import gzip
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import msgspec
import pytest
from tests.monitor.sample import SETTINGS, Tunnel, no_api, port, times
from tests.support.clock import Clock

from backhaul.monitor.http_messages import Request, Response
from backhaul.monitor.http_packing import packed
from backhaul.monitor.machine import measure
from backhaul.monitor.sampler import Sampler
from backhaul.monitor.settings import Settings
from backhaul.monitor.site import HEADERS, Site
from backhaul.monitor.sources import Sources
from backhaul.monitor.status import PortStatus
from backhaul.monitor.times import Times, no_times
from backhaul.system.certificate import CERTIFICATE, make, write

LOCKED = replace(SETTINGS, web_user="admin", web_password="päss:word")
CERTIFIED = replace(SETTINGS, web_client_ca="ca.crt")
BOTH = replace(LOCKED, web_client_ca="ca.crt")
FILES = resources.files("backhaul.monitor").joinpath("page")
PAGE = tuple(sorted(f"/{file.name}".replace("/index.html", "/") for file in FILES.iterdir()))
LEGACY = ("/stats", "/data", "/api/status")  # and the API
USAGE = {443: 3000, 80: 7}
DOWN = msgspec.structs.replace(port(80), up=False, problem="address in use")


def make_site(settings: Settings = SETTINGS, tunnel: Tunnel | None = None, times: Times = no_times) -> Site:
    tunnel = tunnel or Tunnel(port(443, received=1000, sent=2000))
    return Site(settings, Sources(tunnel.survey, lambda: USAGE, Sampler(tunnel.totals, measure), times), no_api)


def whole(response: Response) -> bytes:
    """Return the body with all of its pieces."""
    return b"".join((response.body, *response.more))


async def ask(site: Site, path: str, authorization: str = "", *, certified: bool = False, **more: str) -> Response:
    """Send a request as a visitor from ``peer``, for the name ``host``."""
    about = {"host": "192.0.2.2:2060", "peer": "192.0.2.1"} | more
    answer = await site.respond(Request(path, authorization, about["host"], about["peer"], certified))
    assert isinstance(answer, Response)
    return answer


def login(user: str, password: str, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("metrics", "there", "missing"),
    [
        (("default",), (*PAGE, *LEGACY), ("/metrics",)),
        ((), (*PAGE, *LEGACY), ("/metrics",)),
        (("prometheus",), ("/metrics",), (*PAGE, *LEGACY)),
        (("default", "prometheus"), (*PAGE, *LEGACY, "/metrics"), ()),
    ],
)
async def test_metrics_select_the_pages(
    metrics: tuple[str, ...], there: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    site = make_site(replace(SETTINGS, metrics=metrics))
    assert {path: (await ask(site, path)).status for path in (*there, "/healthz")} == dict.fromkeys(
        (*there, "/healthz"), 200
    )
    never = (*missing, "/nothing", "", "/../settings.py", "/index.html")
    assert {path: (await ask(site, path)).status for path in never} == dict.fromkeys(never, 404)


@pytest.mark.parametrize(("state", "status"), [({}, 200), ({"connected": False}, 503)])
async def test_health_follows_the_tunnel_and_needs_no_login(state: dict[str, bool], status: int) -> None:
    tunnel = Tunnel()
    tunnel.say(**state)
    for settings in (SETTINGS, LOCKED, CERTIFIED):
        assert (await ask(make_site(settings, tunnel), "/healthz")).status == status


@pytest.mark.parametrize(
    ("changes", "ports", "status"),
    [
        ({}, (port(443), port(80)), 200),
        ({}, (port(443), DOWN), 200),
        ({}, (DOWN,), 503),
        ({}, (), 503),
        ({"side": "client"}, (), 200),
        ({"side": "client", "draining": True}, (), 503),
        ({"connected": False}, (port(443),), 503),
        ({"draining": True}, (port(443),), 503),
        ({"stopping": True}, (port(443),), 503),
    ],
)
async def test_an_end_is_ready_if_it_serves_new_users(
    changes: dict[str, object], ports: tuple[PortStatus, ...], status: int
) -> None:
    tunnel = Tunnel(*ports)
    tunnel.say(**changes)
    for settings in (SETTINGS, LOCKED):
        answer = await ask(make_site(settings, tunnel), "/ready", host="any.example")
        assert (answer.status, answer.body) == (status, b"ready\n" if status == 200 else b"not ready\n")


@pytest.mark.parametrize("path", [*PAGE, *LEGACY, "/metrics", "/nothing"])
async def test_all_other_pages_require_the_login(path: str) -> None:
    site = make_site(LOCKED)
    refused = await ask(site, path)
    assert refused.status == 401
    assert dict(refused.headers)["WWW-Authenticate"].startswith("Basic ")
    assert (await ask(site, path, login("admin", "päss:word"))).status != 401
    assert (await ask(site, path, login("admin", "päss:word", "basic"))).status != 401


@pytest.mark.parametrize(
    "authorization",
    [
        login("admin", "wrong"),
        login("", ""),
        login("admin", ""),
        login("päss", "word"),
        login("admin", "päss:word", "Bearer"),
        "Basic",
        "Basic ",
        "Basic ÿ",
        "nonsense",
        login("admin", "päss:word") + "=",
    ],
)
async def test_a_wrong_login_is_refused_and_logged_once(authorization: str, caplog: pytest.LogCaptureFixture) -> None:
    site = make_site(LOCKED)
    for _ in range(5):
        assert (await ask(site, "/", authorization)).status == 401
    assert caplog.messages == ["monitoring page: wrong user name or password from 192.0.2.1"]


@pytest.mark.parametrize("path", [*PAGE, *LEGACY, "/metrics", "/nothing"])
async def test_a_client_certificate_is_a_login(path: str) -> None:
    for settings in (CERTIFIED, BOTH):
        answer = await ask(make_site(settings), path, certified=True, host="any.example", peer="127.0.0.1")
        assert answer.status == (404 if path == "/nothing" else 200)


async def test_without_a_certificate_the_login_decides_or_there_is_none() -> None:
    right = login("admin", "päss:word")
    refused = await ask(make_site(CERTIFIED), "/", right)
    assert (refused.status, b"web_client_ca" in refused.body) == (403, True)
    assert (await ask(make_site(BOTH), "/")).status == 401
    assert (await ask(make_site(BOTH), "/", right)).status == 200
    assert (await ask(make_site(LOCKED), "/", certified=True)).status == 401  # by an authority that no key names


async def test_a_certificate_needs_no_pause_after_guesses_of_others() -> None:
    site = make_site(BOTH)
    for _ in range(9):
        last = await ask(site, "/", login("admin", "wrong"))
    assert last.status == 429
    assert (await ask(site, "/", certified=True)).status == 200


def timed_site(clock: Clock) -> Site:
    tunnel = Tunnel()
    return Site(LOCKED, Sources(tunnel.survey, lambda: USAGE, Sampler(tunnel.totals, measure)), no_api, clock)


async def test_failed_logins_pause_for_longer_and_longer() -> None:
    clock = Clock()
    site = timed_site(clock)
    wrong, statuses = login("admin", "wrong"), []
    for _ in range(200):  # 20 s of a program that guesses ten times a second
        statuses.append((await ask(site, "/", wrong)).status)
        clock.now += 0.1
    assert statuses[:6] == [401] * 6
    assert 1 <= statuses[6:].count(401) <= 4  # after pauses of 1, 2, 4 and 8 s
    right = login("admin", "päss:word")
    assert (await ask(site, "/", right)).status == 429  # it is not compared
    assert (await ask(site, "/", right, peer="192.0.2.9")).status == 200


async def test_a_login_through_the_same_proxy_allows_no_more_guesses() -> None:
    clock = Clock()
    site = timed_site(clock)
    right, wrong, guesses = login("admin", "päss:word"), login("admin", "wrong"), 0
    for _ in range(120):  # the page asks every second
        await ask(site, "/api/status", right)
        for _ in range(4):
            guesses += (await ask(site, "/", wrong)).status == 401
        clock.now += 1
    assert guesses <= 5 + 8


@pytest.mark.parametrize(
    ("host", "peer", "status"),
    [
        ("rebound.example.com:2060", "127.0.0.1", 421),
        ("rebound.example.com", "192.168.1.5", 421),
        ("rebound.example.com.", "fd00::5", 421),
        ("rebound.example.com", "unknown", 421),
        ("panel.example.com:2060", "8.8.8.8", 200),  # it needs no detour through a browser
        ("8.8.8.8:2060", "192.168.1.5", 200),
        ("127.0.0.1:2060", "127.0.0.1", 200),
        ("[::1]:2060", "::1", 200),
        ("localhost:2060", "127.0.0.1", 200),
        ("backhaul:2060", "172.18.0.3", 200),  # the name of a container
        ("server.lan.home.arpa", "192.168.1.5", 200),
        ("a.b.svc.cluster.local:2060", "10.0.0.7", 200),
        ("", "127.0.0.1", 200),
    ],
)
async def test_a_page_without_login_is_not_served_for_foreign_names(host: str, peer: str, status: int) -> None:
    for path in ("/", "/stats", "/metrics"):
        assert (await ask(make_site(), path, host=host, peer=peer)).status == status
    assert (await ask(make_site(), "/healthz", host=host, peer=peer)).status == 200
    assert (await ask(make_site(LOCKED), "/", login("admin", "päss:word"), host=host, peer=peer)).status == 200


@pytest.mark.parametrize("alias", ["/stats/", "/data/"])
async def test_a_trailing_slash_returns_the_page_as_in_v072(alias: str) -> None:
    for path in ("", "page.js", "api/status"):
        there = await ask(make_site(), f"{alias}{path}")
        assert (there.status, there.content_type) == (200, (await ask(make_site(), f"/{path}")).content_type)


async def test_a_missing_login_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    await ask(make_site(LOCKED), "/")
    assert not caplog.messages


async def test_the_password_is_shown_nowhere() -> None:
    site = make_site(LOCKED)
    assert "word" not in repr(LOCKED)
    answers = [await ask(site, path, login("admin", "päss:word")) for path in (*PAGE, *LEGACY, "/metrics")]
    assert not any("päss:word".encode() in whole(answer) for answer in answers)


async def test_data_without_a_usage_log_has_the_bytes_since_the_start() -> None:
    answer = await ask(make_site(), "/data")
    assert json.loads(answer.body) == [{"Port": 443, "ReadableUsage": "2.93 KB"}]


async def test_data_is_the_usage() -> None:
    answer = await ask(make_site(replace(SETTINGS, sniffer=True)), "/data")
    assert answer.content_type == "application/json"
    assert json.loads(answer.body) == [
        {"Port": 80, "ReadableUsage": "7 B"},
        {"Port": 443, "ReadableUsage": "2.93 KB"},
    ]


async def test_stats_are_v072s() -> None:
    stats = json.loads((await ask(make_site(), "/stats")).body)
    assert stats["tunnelStatus"] == "Connected (TCPMux)"
    assert stats["backhaulTraffic"] == "2.93 KB"
    assert re.fullmatch(r"\d+\.\d\d%", stats["cpuUsage"])
    assert stats["sniffer"] == "Not running"


async def test_the_stats_of_a_usage_log_are_those_of_all_runs() -> None:
    stats = json.loads((await ask(make_site(replace(SETTINGS, sniffer=True)), "/stats")).body)
    assert stats["backhaulTraffic"] == "2.94 KB"
    assert stats["sniffer"] == "Running"


@pytest.mark.parametrize(("sniffer", "usage"), [(True, USAGE), (False, None)])
def test_the_traffic_has_all_that_the_page_needs(*, sniffer: bool, usage: dict[int, int] | None) -> None:
    traffic = make_site(replace(SETTINGS, sniffer=sniffer)).traffic()
    assert (traffic.usage, traffic.history) == (usage, [])
    assert traffic.machine.memory
    assert traffic.machine.memory.total > 0


@pytest.mark.parametrize("name", [path.lstrip("/") or "index.html" for path in PAGE])
def test_the_page_uses_no_other_server_and_no_inline_code(name: str) -> None:
    text = FILES.joinpath(name).read_text()
    addresses = set(re.findall(r"https?://[^\s\"']+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of SVG, not an address
    assert not re.search(r"<style|\son\w+=|\sstyle=|javascript:|<script(?![^>]*\ssrc=)|@import|url\(", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)


def test_the_policy_allows_only_files_of_the_page() -> None:
    policy = dict(HEADERS)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert set(re.findall(r"'[^']*'", policy)) == {"'none'", "'self'"}


async def test_a_scrape_of_many_ports_lets_the_loop_go_on() -> None:
    """Between two slices the loop has a turn, and no slice grows with the number of ports."""
    site = make_site(tunnel=Tunnel(*map(port, range(10000, 11000))), times=lambda: map(times, range(10000, 11000)))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    response = await ask(site, "/metrics")
    counting.cancel()
    assert whole(response).count(b"backhaul_user_waiting_seconds_count{") == 1000
    assert turns > 20


async def test_metrics_are_open_metrics_when_asked_for() -> None:
    response = await make_site().respond(
        Request("/metrics", "", "", "192.0.2.1", accept="application/openmetrics-text")
    )
    assert isinstance(response, Response)
    assert response.content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert whole(response).endswith(b"# EOF\n")


async def test_metrics_are_packed_for_readers_who_ask_for_it() -> None:
    request = Request("/metrics", "", "", "192.0.2.1", encodings="gzip")
    site = make_site(tunnel=Tunnel(*map(port, range(1, 200))))
    response = await site.respond(request)
    assert isinstance(response, Response)
    assert ("Content-Encoding", "gzip") in response.headers
    assert await packed(response, "gzip") is response
    text = whole(await ask(site, "/metrics"))
    counts = [found.count(b"backhaul_open_connections{") for found in (gzip.decompress(whole(response)), text)]
    assert counts == [199, 199]
    assert response.length < len(text) / 4


async def test_metrics_tell_the_end_of_each_certificate(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    write(make(["localhost"], 10, now), tmp_path, force=False)
    write(make(["localhost"], 20, now), tmp_path / "page", force=False)
    files = (str(tmp_path / CERTIFICATE), str(tmp_path / "page" / CERTIFICATE))
    text = whole(await ask(make_site(replace(SETTINGS, certificates=files)), "/metrics")).decode()
    found = re.findall(r'^backhaul_certificate_expiry_timestamp_seconds{.*,file="(.*)"} (.*)$', text, re.MULTILINE)
    assert [file for file, _ in found] == list(files)
    days = [(float(end) - now.timestamp()) / 86400 for _, end in found]
    assert days == pytest.approx([10, 20], abs=1e-3)


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
async def test_an_unusable_certificate_has_no_end(text: str, tmp_path: Path) -> None:
    file = tmp_path / "server.crt"
    file.write_text(text)
    found = whole(await ask(make_site(replace(SETTINGS, certificates=(str(file),))), "/metrics"))
    assert b"backhaul_open_connections" in found
    assert b"backhaul_certificate" not in found
