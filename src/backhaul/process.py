"""One end as a running program: signals, reloads, monitor, status socket and service manager."""

import asyncio
import contextlib
import functools
import gc
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backhaul.api.guards import PageGuard, SocketGuard
from backhaul.api.messages import Loaded
from backhaul.api.service import make_desk
from backhaul.config.diff import Change, diff
from backhaul.config.schema import Config, certificates_of, side_of
from backhaul.monitor.events import EventLog
from backhaul.monitor.http import HttpServer
from backhaul.monitor.traffic import TrafficBoard
from backhaul.net.descriptors import descriptor_limit, least_limit, shortage
from backhaul.net.listeners import Listeners
from backhaul.net.unix_sockets import listener_at
from backhaul.system.files import stamp_of
from backhaul.system.known_servers import KnownServers
from backhaul.system.log import configure
from backhaul.system.memory import memory_limit
from backhaul.system.program import FORKS
from backhaul.system.signals import ONLY_END, SignalSource
from backhaul.system.state_directory import state_directory
from backhaul.system.status_socket import serving, socket_path, take_turn

from .access import Access
from .administration import Administration
from .assembly import gate_limits, quota_file, state_file
from .bare_tokens import warned
from .client import Client
from .config import Address, ClientConfig, ConfigError, ServerConfig, load
from .errors import MEMORY_ADVICE, BackhaulError, reason
from .hooks import Hooks
from .overview import meter, reader, surveyor
from .reloads import Reloads, changes_of, summary
from .server import Server
from .system import notify
from .threads import in_thread

if TYPE_CHECKING:
    from backhaul.monitor.service import Monitor
    from backhaul.monitor.settings import Settings

log = logging.getLogger("backhaul")

_ECHO: Final = 0.2  # seconds; a parent passes on at once what the terminal has sent to both
_LOOK_EVERY: Final = 1.0  # seconds between checks of the configuration file; v0.7.2 polls it too
_POOL: Final = 8  # a client's default; more idle tunnel connections are closed if no user needs them
_LOG: Final = frozenset({"log_level", "log_format"})
_WEB: Final = frozenset(
    {
        *("tls_cert", "web_port", "web_bind", "web_user", "web_password", "web_cert", "web_key", "web_client_ca"),
        *("metrics", "sniffer", "sniffer_log"),
    }
)


class Process:
    """Runs the end described by ``file`` until it is stopped."""

    def __init__(
        self, file: str, config: Config, signals: SignalSource = ONLY_END, manager: notify.Manager = notify
    ) -> None:
        self._file = Path(file)
        self._config = config
        self._signals = signals
        self._manager = manager
        self._socket = socket_path(self._file)
        self._turn = _take_turn(self._socket)
        self._listeners = _make_listeners(self._socket, manager, shared=self._turn is not None)
        self._claim_page(config)
        self._end = _make_end(config, self._listeners, self._file)
        self._events = EventLog()
        self._access = Access(self._end)
        self._hooks = Hooks(self._end)
        self._read = reader(self._end.state, self._events, str(self._file.absolute()))
        self._survey = surveyor(self._end.survey, self._events, str(self._file.absolute()))
        self._wake = asyncio.Event()  # a signal or a request has arrived
        self._stop = asyncio.Event()
        self._reloads = Reloads(self._wake.set)
        self._board = TrafficBoard()
        self._operator = Administration(
            self._end,
            self._file,
            survey=self._survey,
            events=self._events,
            reloads=self._reloads,
            board=self._board,
            config=self._in_force,
            reopen=self._access.reopen,
        )
        self._stamp = stamp_of(self._file)
        self._shown = ""  # the status shown by the service manager

    async def run(self) -> None:
        """Run the end; raise BackhaulError if it cannot start."""
        self._on_signals()
        with self._keeping_events():
            await self._hooks.apply(self._config)  # ports may be down from the start
            try:
                await self._end.start()
            except BackhaulError:
                await self._hooks.close()
                raise
            door = HttpServer(make_desk(self._operator, SocketGuard()))
            async with serving(self._socket, door, self._turn) as replaced:
                watch = await self._start_monitor(self._config)
                await self._access.apply(self._config)
                await self._look_at_descriptors(watch)
                _settle_memory()
                self._manager.ready()
                self._tell()
                try:
                    watch = await self._until_stopped(watch)
                finally:
                    self._reloads.close()
                    if watch:
                        await watch.stop()
                await self._end_in_order(replaced)
                await self._access.close()
                await self._hooks.close()

    async def _look_at_descriptors(self, watch: "Monitor | None") -> None:
        """Warn if there may be too few for a user; end, and raise BackhaulError, if there certainly are."""
        missing = self._end.missing_sockets() if isinstance(self._end, Server) else 0
        least, most = (least_limit(missing + idle) for idle in _idle(self._config))
        if descriptor_limit() >= least:
            if line := shortage(most):
                log.warning("%s", line)
            return
        if watch:
            await watch.stop()
        await self._end.end()
        await self._access.close()
        await self._hooks.close()
        raise BackhaulError(shortage(most))

    async def _until_stopped(self, watch: "Monitor | None") -> "Monitor | None":
        """Watch the file and notify the service manager until the stop; return the monitor in use."""
        watchdog = notify.Watchdog(self._manager)
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._wake.wait()
            self._wake.clear()
            watchdog.feed()
            self._tell()
            if self._changed() and not self._stop.is_set():
                watch = await self._reload_file(watch)
        return watch

    async def _start_monitor(self, config: Config) -> "Monitor | None":
        if not config.page and not config.sniffer:
            return None
        # Imported only here: without page and usage log an idle process is a megabyte smaller.
        from backhaul.monitor.program import Program  # noqa: PLC0415
        from backhaul.monitor.service import start  # noqa: PLC0415

        settings = self._monitor_settings(config)
        desk = make_desk(self._operator, PageGuard(settings.logins))
        return await start(
            settings, Program(self._read, self._survey, meter(self._end.moved), desk, self._board, self._end.user_times)
        )

    def _monitor_settings(self, config: Config) -> "Settings":
        from backhaul.monitor.settings import Settings  # noqa: PLC0415 - as above

        page = _page(config)
        return Settings(
            web_bind=page.host,
            web_port=page.port,
            web_user=config.web_user,
            web_password=config.web_password.reveal(),
            web_cert=config.web_cert,
            web_key=config.web_key,
            web_client_ca=config.web_client_ca,
            metrics=config.metrics,
            sniffer=config.sniffer,
            sniffer_log=config.sniffer_log,
            certificates=certificates_of(config),
            history=str(state_file(self._file, "history")),
            open_page=functools.partial(self._listeners.page, page.host, page.port),
        )

    def _in_force(self) -> Config:
        return self._config

    def _claim_page(self, config: Config) -> None:
        """Keep an inherited socket for the page until it opens."""
        page = _page(config)
        self._listeners.claim(page.host, page.port)

    async def _end_in_order(self, replaced: Callable[[], bool]) -> None:
        patience = self._config.shutdown_timeout
        log.info("stopping: users in flight get %g s; a second signal ends at once", patience)
        self._manager.stopping()
        self._stop.clear()
        ending = asyncio.ensure_future(_stop(self._end, replaced))
        second = asyncio.ensure_future(self._another_signal())
        await asyncio.wait([ending, second], return_when=asyncio.FIRST_COMPLETED)
        second.cancel()
        if ending.done():
            ending.result()
        else:
            ending.cancel()
            await self._end.end()  # with resets: at exit the kernel closes cleanly, as if half an answer were complete
        log.info("stopped")

    async def _another_signal(self) -> None:
        if FORKS:
            await asyncio.sleep(_ECHO)
            self._stop.clear()
        await self._stop.wait()

    def _on_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._signals.on(number, self._stopped)
        self._signals.on(signal.SIGHUP, self._reloads.request)

    def _stopped(self) -> None:
        self._stop.set()
        self._wake.set()

    @contextlib.contextmanager
    def _keeping_events(self) -> Iterator[None]:
        log.addHandler(self._events)
        try:
            yield
        finally:
            log.removeHandler(self._events)

    def _changed(self) -> bool:
        stamp = stamp_of(self._file)
        if not self._reloads.requested and (stamp == self._stamp or not stamp):
            return False
        self._stamp = stamp
        return True

    async def _reload_file(self, watch: "Monitor | None") -> "Monitor | None":
        """Apply the changes of the file; a broken file changes nothing."""
        self._manager.reloading()
        tell = self._reloads.begin()
        try:
            new = await in_thread(_load, self._file)  # 60 ms for a thousand clients
        except ConfigError as error:
            outcome, change = self._broken(error), Change()
        except OSError as error:
            outcome, change = self._kept(f"not loaded: {reason(error)}; {MEMORY_ADVICE}, then reload"), Change()
        else:
            change = diff(self._config, new)
            outcome = await self._apply(new, change)
        await self._hooks.apply(self._config)
        await self._access.apply(self._config)  # even with mistakes in the file: logrotate sends the same signal
        tell(outcome)  # before the page, through which some requests came, restarts
        if outcome.loaded:
            watch = await self._renew_page(watch, frozenset(change.changed))
            log.info("configuration reloaded: %s", summary(change, (await self._survey()).ports))
        self._manager.ready()
        return watch

    def _broken(self, error: ConfigError) -> Loaded:
        for problem in error.problems:
            log.error("%s", problem)
        log.error("%s: not loaded; the old configuration stays in force until these mistakes are corrected", self._file)
        return Loaded(loaded=False, problems=error.problems)

    async def _apply(self, new: Config, change: Change) -> Loaded:
        if type(new) is not type(self._config):
            return self._kept("a change of side requires a restart")
        for key in change.restart:
            log.warning("%s: changed; requires a restart", key)
        if _LOG.intersection(change.changed):
            configure(new.log_level, new.log_format)
        self._claim_page(new)
        try:
            await _reconfigure(self._end, new, change)
        except (OSError, BackhaulError) as error:
            return self._kept(f"unusable: {reason(error)}; the old configuration stays in force")
        self._config = new
        for warning in new.warnings:
            log.warning("%s", warning)
        return Loaded(loaded=True, warnings=new.warnings, changes=changes_of(change))

    def _kept(self, why: str) -> Loaded:
        problem = f"{self._file}: {why}"
        log.error("%s", problem)
        return Loaded(loaded=False, problems=(problem,))

    async def _renew_page(self, watch: "Monitor | None", changed: frozenset[str]) -> "Monitor | None":
        """Start the page again if its keys have changed, or its port may be free now."""
        if changed & _WEB or (watch and not watch.whole):
            if watch:
                await watch.stop()
            watch = await self._start_monitor(self._config)
            self._listeners.settle()
        return watch

    def _tell(self) -> None:
        """Send the tunnel's state to the service manager if it has changed."""
        text = f"{self._config.transport} {side_of(self._config)}: {_state(self._end)}"
        if text != self._shown:
            self._manager.status(text)
            self._shown = text


def _idle(config: Config) -> tuple[int, int]:
    """Return the least and the largest number of idle tunnel connections before the first user."""
    if isinstance(config, ServerConfig):
        return 0, _POOL
    pool = min(config.connection_pool, _POOL)
    return pool, pool


def _load(file: Path) -> Config:
    return warned(load(file))


def _page(config: Config) -> Address:
    """Return the address of the page, which without one has neither host nor port."""
    return config.page or Address("", 0)


def _state(end: Server | Client) -> str:
    session = end.session()
    if session.connected:
        return f"connected to {session.peer}"
    if isinstance(end, Server):
        return session.problem or f"waiting for the client on {end.config.bind_addr}"
    return f"connecting to {end.config.remote_addr}"


def _take_turn(path: Path | None) -> socket.socket | None:
    """Return a socket to replace that of a stopping process; raise BackhaulError if another process replaces it."""
    try:
        return take_turn(path)
    except OSError as error:
        raise BackhaulError(f"cannot take over from the stopping process: {reason(error)}") from None


def _make_listeners(path: Path | None, manager: notify.Manager, *, shared: bool) -> Listeners:
    predecessor = listener_at(str(path)) if shared else None
    return Listeners(manager.inherited(), shared=shared, predecessor=predecessor or 0, depot=notify.Store())


def _make_end(config: Config, listeners: Listeners, file: Path) -> Server | Client:
    if isinstance(config, ServerConfig):
        limits = gate_limits(descriptor_limit(), memory_limit())
        return Server(config, limits=limits, listeners=listeners, store=quota_file(file))
    listeners.settle()  # the file may have been a server's before
    return Client(config, known=KnownServers(state_directory()))


async def _stop(end: Server | Client, replaced: Callable[[], bool]) -> None:
    if isinstance(end, Server):
        await end.stop(replaced)
    else:
        await end.stop()


def _settle_memory() -> None:
    """Exempt present objects, which live until the end, from further garbage collections."""
    gc.collect()
    gc.freeze()


async def _reconfigure(end: Server | Client, new: Config, change: Change) -> None:
    if isinstance(end, Server):
        assert isinstance(new, ServerConfig)  # noqa: S101 - a change of side has been refused
        await end.reconfigure(new, change)
    else:
        assert isinstance(new, ClientConfig)  # noqa: S101
        await end.reconfigure(new)
