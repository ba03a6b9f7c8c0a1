"""The access log of a running server, as its configuration requires it."""

from backhaul.config import ServerConfig
from backhaul.config.schema import Config
from backhaul.system.access_lines import lines
from backhaul.system.access_log import AccessLog
from backhaul.system.access_sinks import make_sink

from .client import Client
from .server import Server


class Access:
    """Keeps the access log of ``end``, if that is a server."""

    def __init__(self, end: Server | Client) -> None:
        self._end = end
        self._settings: tuple[object, ...] = ()
        self._log: AccessLog | None = None

    async def apply(self, config: Config) -> None:
        """Begin, end or change the log; without a change reopen its file, which another program may have renamed."""
        if not isinstance(config, ServerConfig) or not isinstance(self._end, Server):
            return
        settings = config.access_log, config.access_log_format, config.access_log_size
        if settings == self._settings:
            self.reopen()
            return
        await self.close()
        self._settings = settings
        if config.access_log:
            sink = make_sink(config.access_log, config.access_log_size)
            self._log = AccessLog(sink, lines(config.access_log_format))
            self._end.report_to(self._log.write)

    def reopen(self) -> str:
        """Write the waiting lines and reopen the file; return the place of the log, or "" if there is none."""
        if not self._log:
            return ""
        self._log.reopen()
        return self._log.place

    async def close(self) -> None:
        """Write the last lines and end the log."""
        if self._log and isinstance(self._end, Server):
            self._end.report_to(None)
            await self._log.close()
            self._log = None
