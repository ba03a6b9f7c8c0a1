"""Settings and fixtures for all tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from hypothesis import settings
from tests.support.net import free_port
from tests.support.public import TARGET, Public
from tests.support.tunnel import BUILT, NO_WAIT, Net

from backhaul.net.poller import LoopPoller
from backhaul.tunnel.liveness import Liveness
from backhaul.tunnel.timings import Timings

# A busy machine may be slow at any single example: how long one takes is not what is tested.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop is what the program runs on; where loops differ in what matters, a test asks for both."""
    both = item.get_closest_marker("both_loops")
    return LOOPS if both else {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out cases that no system has, and those that are others under a second name."""
    items[:] = [item for item in items if not _needless(getattr(item, "callspec", None))]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write lone surrogates of a log as question marks: no report with them gets from a worker to the terminal."""
    report = yield
    report.sections = [(title, text.encode(errors="replace").decode()) for title, text in report.sections]
    return report


def _needless(callspec: Any) -> bool:  # noqa: ANN401 - pytest keeps the type to itself
    params = callspec.params if callspec else {}
    return _impossible(params) or _repeated(params)


def _impossible(params: dict[str, Any]) -> bool:
    """uvloop's own watching of sockets where there is epoll: its readers are gone after a call on a broken socket."""
    return params.get("plane") == "no-epoll" and uvloop.new_event_loop in params.values()


def _repeated(params: dict[str, Any]) -> bool:
    """The choice between splice and copy is one of pairs, which transport tcp alone has."""
    return params.get("plane") == "copy" and params.get("any_net", "tcp") != "tcp"


@pytest.fixture(scope="session", autouse=True)
def runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests start and kill leaves its sockets here, not among those of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", str(tmp_path_factory.mktemp("run")))
        yield


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    """Sockets, services and ends of tunnels over TCP; nothing may be left when the test is over."""
    async with Net("tcp") as net:
        yield net


@pytest.fixture(params=BUILT)
async def any_net(request: pytest.FixtureRequest) -> AsyncIterator[Net]:
    """Do the same over every transport."""
    async with Net(request.param) as net:
        yield net


@pytest.fixture(params=["splice", "copy", "no-epoll"])
def plane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way in which bytes can be moved on some system; to be named before ``net``."""
    if request.param == "copy":
        monkeypatch.setenv("BACKHAUL_NO_SPLICE", "1")
    if request.param == "no-epoll":
        for end in ("server", "client"):
            monkeypatch.setattr(f"backhaul.{end}.make_poller", LoopPoller)
    return str(request.param)


@pytest.fixture
def doubts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When clients have asked their server for a sign of life."""
    asked: list[float] = []
    doubtful = Liveness.doubtful

    def listen(liveness: Liveness, now: float) -> bool:
        if answer := doubtful(liveness, now):
            asked.append(now)
        return answer

    monkeypatch.setattr(Liveness, "doubtful", listen)
    return asked


@pytest.fixture
def short_handshake(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop peers that prove nothing soon; to be named before ``public`` or ``behind``."""
    net.limits = replace(net.limits, handshake_timeout=0.1)
    monkeypatch.setattr("backhaul.transports.doors.raw.HANDSHAKE_TIMEOUT", 0.1)


@pytest.fixture
async def public(net: Net, request: pytest.FixtureRequest) -> Public:
    """Start a server; marks add to it: ``config`` lines or other keys, ``limits`` of its gate, ``timings`` its
    waits."""
    marker = request.node.get_closest_marker("config")
    lines: str = marker.args[0] if marker and marker.args else ""
    unchecked: dict[str, Any] = marker.kwargs if marker else {}
    port, user_port = free_port(), free_port()
    if limits := request.node.get_closest_marker("limits"):
        net.limits = replace(net.limits, **limits.kwargs)
    paced = request.node.get_closest_marker("timings")
    timings = Timings(quiet=0, **paced.kwargs) if paced else NO_WAIT
    server = await net.server(port, [f"127.0.0.1:{user_port}={TARGET}"], lines, timings=timings, **unchecked)
    return Public(net, server, port, user_port)
