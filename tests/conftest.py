"""Settings and fixtures for all tests."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from hypothesis import settings
from tests.support.net import free_port
from tests.support.program import kill_all
from tests.support.public import TARGET, Public
from tests.support.tunnel import BUILT, NO_WAIT, Net

from backhaul.net.pollers import LoopPoller
from backhaul.tunnel.liveness import Liveness
from backhaul.tunnel.timings import Timings

# Without a deadline: a busy machine may be slow at any single example, whose time is not under test.
# Every run tries other examples, so many runs try many; ``--hypothesis-profile=thorough`` tries them at once.
settings.register_profile("quick", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("quick")

# Folders with files that take long, because they wait. None of these runs alone at the end, when nothing else is left.
WAITING = ("cli", "faults", "interop", "monitor", "transports", "tunnel")

_NUMBERS = itertools.count()

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests on uvloop, as the program does; those with the mark ``both_loops`` on each loop."""
    both = item.get_closest_marker("both_loops")
    return LOOPS if both else {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out cases that occur on no system, or that repeat others; begin with the slowest files."""
    items[:] = [item for item in items if not _needless(getattr(item, "callspec", None))]
    items.sort(key=lambda item: item.path.parent.name not in WAITING)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep objects that live to the end from the cycle collector: a million, which some tests make it visit again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Kill the programs of a test that has failed; replace lone surrogates in a log, which xdist can't transfer."""
    report = yield
    if report.failed:
        kill_all()
    report.sections = [(title, text.encode(errors="replace").decode()) for title, text in report.sections]
    return report


def _needless(callspec: Any) -> bool:  # noqa: ANN401 - pytest keeps the type to itself
    params = callspec.params if callspec else {}
    return _impossible(params) or _repeated(params)


def _impossible(params: dict[str, Any]) -> bool:
    """Return whether uvloop watches sockets itself in spite of epoll: after an error it loses its readers."""
    return params.get("plane") == "no-epoll" and uvloop.new_event_loop in params.values()


def _repeated(params: dict[str, Any]) -> bool:
    """Return whether everything in this case is tried in others."""
    transport: str = params.get("any_net", "tcp")
    plane: str = params.get("plane", "splice")
    if plane == "copy":  # only pairs, which are those of tcp, have the choice
        return transport != "tcp"
    # The loop watches one descriptor of the program, its epoll. Pairs, sessions and messages are tested on both loops.
    # TLS and sessions after an upgrade are tested on one of them and, without epoll, on the other.
    return asyncio.new_event_loop in params.values() and plane == "splice" and transport in {"wss", "wsmux", "wssmux"}


@pytest.fixture(scope="session", autouse=True)
def runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the status sockets of killed programs away from those of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", str(tmp_path_factory.mktemp("run")))
        yield


@pytest.fixture(autouse=True)
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep clients from remembering servers of other tests, which may have had the same ports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATE_DIRECTORY", f"{tmp_path_factory.getbasetemp()}/state/{next(_NUMBERS)}")
        yield


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    """Provide sockets, services and ends of tunnels over TCP; nothing may remain at the end."""
    async with Net("tcp") as net:
        yield net


@pytest.fixture(params=BUILT)
async def any_net(request: pytest.FixtureRequest) -> AsyncIterator[Net]:
    """Provide the same over every transport."""
    async with Net(request.param) as net:
        yield net


@pytest.fixture(params=["splice", "copy", "no-epoll"])
def plane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Choose each way of moving bytes that some system uses; request it before ``net``."""
    if request.param == "copy":
        monkeypatch.setenv("BACKHAUL_NO_SPLICE", "1")
    if request.param == "no-epoll":
        for end in ("server", "client"):
            monkeypatch.setattr(f"backhaul.{end}.make_poller", LoopPoller)
    return str(request.param)


@pytest.fixture
def doubts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the times at which clients asked their server for a sign of life."""
    asked: list[float] = []
    doubtful = Liveness.doubtful

    def listen(liveness: Liveness, now: float) -> bool:
        if answer := doubtful(liveness, now):
            asked.append(now)
        return answer

    monkeypatch.setattr(Liveness, "doubtful", listen)
    return asked


@pytest.fixture
def short_handshake(net: Net) -> None:
    """Drop peers that prove nothing soon; request it before ``public`` or ``behind``."""
    net.limits = replace(net.limits, handshake_timeout=0.1)
    net.timings = {"handshake": 0.1}


@pytest.fixture
async def public(net: Net, request: pytest.FixtureRequest) -> Public:
    """Start a server; its marks are ``config`` (lines or other keys), ``limits`` of the gate, and ``timings``."""
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
