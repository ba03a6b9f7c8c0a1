"""The monitor's settings from the configuration."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

Login = Literal["password", "certificate"]
"""A way in which visitors of the page log in."""

INTERVAL: Final = 1.0
"""Seconds between two samples of the traffic; v0.7.2 also measures its speeds over one second."""

LOOK_EVERY: Final = 5.0
"""Seconds between checks of the page's certificate files."""

LOG_INTERVAL: Final = 15.0
"""Seconds between two writes of the usage log, as in v0.7.2."""


def no_socket() -> socket.socket | None:
    """Return None, so that the page opens its own socket."""
    return None


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys of the same names; see the configuration reference."""

    web_bind: str
    """An address, or the path of a Unix socket."""
    web_port: int
    """A port, or 0 for no page, unless it is on a Unix socket."""
    web_user: str
    web_password: str = field(repr=False)
    metrics: tuple[str, ...]
    sniffer: bool
    sniffer_log: str
    web_cert: str = ""
    """The page is served over TLS if there is one."""
    web_key: str = ""
    web_client_ca: str = ""
    certificates: tuple[str, ...] = ()
    """Not a key: the files of the certificates that this end shows."""
    history: str = ""
    """Not a key: the file with the numbers of the last day; none is kept without one."""
    open_page: Callable[[], socket.socket | None] = no_socket
    """Returns an existing listening socket for the page, always for a Unix socket; raises OSError if that fails."""
    interval: float = INTERVAL
    """Not a key: seconds between two samples."""
    look_every: float = LOOK_EVERY
    """Not a key: seconds between checks of the files of ``web_cert``."""

    @property
    def has_page(self) -> bool:
        """True if there is a page."""
        return bool(self.web_port) or self.web_bind.startswith("/")

    @property
    def page(self) -> str:
        """The URL of the page, or its Unix socket."""
        return self.address if self.web_bind.startswith("/") else f"{self._scheme}://{self.address}/"

    @property
    def address(self) -> str:
        """The address of the page, in the form of the configuration."""
        if self.web_bind.startswith("/"):
            return f"unix:{self.web_bind}"
        host = f"[{self.web_bind}]" if ":" in self.web_bind else self.web_bind
        return f"{host}:{self.web_port}"

    @property
    def logins(self) -> tuple[Login, ...]:
        """The ways to log in, each of which suffices; without one the page is open."""
        offered: dict[Login, str] = {"password": self.web_user, "certificate": self.web_client_ca}
        return tuple(way for way, offer in offered.items() if offer)

    @property
    def _scheme(self) -> str:
        return "https" if self.web_cert else "http"
