"""The page's server, and a real browser without a window."""

import asyncio
import dataclasses
import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop
from msgspec.structs import replace
from tests.monitor.sample import SETTINGS, Tunnel, port
from tests.support.operator import SampleOperator, Users

from backhaul.api.guards import PageGuard
from backhaul.api.service import make_desk
from backhaul.monitor.events import EventLog
from backhaul.monitor.http import HttpServer
from backhaul.monitor.machine import measure
from backhaul.monitor.sampler import Sampler
from backhaul.monitor.samples import HistoryStatus, Sample
from backhaul.monitor.site import HEADERS, Site
from backhaul.monitor.sources import Sources

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing (dependency group dev)")
needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is missing (Debian package chromium)"),
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="chromedriver is missing (chromium-driver)"),
]

PATIENCE = 30.0
OPTIONS = (
    "--headless",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'


class Host:
    """The page's server in a thread, with a tunnel that the test changes."""

    def __init__(self, users: Users | None = None, login: str = "") -> None:
        """``login`` is the user name and the password."""
        self.users = users or Users([])
        self._login = login
        self._events = EventLog()
        self.samples: dict[str, list[Sample]] = {}
        """The history, by series."""
        self.now = time.time()
        """The time that the history tells: it stands, since a minute that ends in a test moves every sample."""
        self.tunnel = Tunnel(port(443, received=1000, sent=2000, target=HOSTILE), port(80))
        self._ready: threading.Event = threading.Event()
        self._loop = uvloop.new_event_loop()  # that of the program; asyncio's own may forget a connection at the end
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._clock = 0.0
        self.sampler = Sampler(self.tunnel.totals, measure, lambda: self._clock)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()
        self._loop.close()

    def stop(self) -> None:
        """Stop the page's server."""
        self._loop.call_soon_threadsafe(self._stop.set)

    def second(self, *, received: int, sent: int) -> None:
        """Let a second pass, in which port 443 moves these bytes."""
        first, *others = self.tunnel.status.ports
        first = replace(first, received=first.received + received, sent=first.sent + sent)
        self.tunnel.say(ports=(first, *others))
        self._clock += 1
        self.sampler.tick()

    def say(self, level: int, text: str) -> None:
        """Let the program log a line."""
        self._events.handle(logging.LogRecord("backhaul", level, "", 0, text, None, None))

    async def _history(self, series: str) -> HistoryStatus:
        return HistoryStatus(self.now, [*self.samples], self.samples.get(series, []))

    async def _serve(self) -> None:
        settings = dataclasses.replace(SETTINGS, sniffer=True, web_user=self._login, web_password=self._login)
        sources = Sources(self.tunnel.survey, lambda: {443: 5 << 30}, self.sampler)
        operator = SampleOperator(self.users, self.tunnel, self._events)
        site = Site(settings, sources, make_desk(operator, PageGuard(settings.logins)))
        with operator.board.fed(site.traffic, self._history):
            await self._run(site)

    async def _run(self, site: Site) -> None:
        server = HttpServer(site.respond, HEADERS)
        login = f"{self._login}:{self._login}@" if self._login else ""
        self.url = f"http://{login}127.0.0.1:{await server.start('127.0.0.1', 0)}/"
        self._ready.set()
        await self._stop.wait()
        await server.stop()


class Browser:
    """A browser with one page."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 - selenium is optional
        self.driver = driver

    def look(self, host: Host, *, width: int = 1000, height: int = 800, scheme: str = "light") -> None:
        """Open the page, and wait until it shows numbers."""
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(host.url)
        self.wait(lambda: self.script("return document.body.dataset.state") != "loading")

    def script(self, code: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the script returns
        return self.driver.execute_script(code, *arguments)

    def text(self, selector: str) -> str:
        """Return the visible text of an element."""
        text: str = self.script("return document.querySelector(arguments[0]).innerText", selector)
        return text

    def style(self, selector: str, name: str) -> str:
        code = "return getComputedStyle(document.querySelector(arguments[0])).getPropertyValue(arguments[1])"
        style: str = self.script(code, selector, name)
        return style

    def press(self, key: str) -> None:
        webdriver.ActionChains(self.driver).send_keys(key).perform()

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until the condition is true in the page."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.text("body")
            self.driver.execute_async_script("setTimeout(arguments[0], 100)")


def open_browser(folder: Path) -> Browser:
    """Start a browser, whose files go to ``folder``."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for option in (*OPTIONS, f"--user-data-dir={folder}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    return Browser(driver)
