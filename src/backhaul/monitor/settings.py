"""What the monitor needs from the configuration."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field


def no_socket() -> socket.socket | None:
    """Return None: the page opens a socket of its own."""
    return None


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys of the same names; see the configuration reference."""

    web_bind: str
    """An address, or the path of a Unix socket."""
    web_port: int
    """0: no page, unless on a Unix socket."""
    web_user: str
    web_password: str = field(repr=False)
    metrics: tuple[str, ...]
    sniffer: bool
    sniffer_log: str
    open_page: Callable[[], socket.socket | None] = no_socket
    """Returns the page's listening socket if there is one for it, and always if it is a Unix socket; raises OSError."""

    @property
    def has_page(self) -> bool:
        """Whether there is a page."""
        return bool(self.web_port) or self.web_bind.startswith("/")

    @property
    def page(self) -> str:
        """Where the page is."""
        if self.web_bind.startswith("/"):
            return f"unix:{self.web_bind}"
        host = f"[{self.web_bind}]" if ":" in self.web_bind else self.web_bind
        return f"http://{host}:{self.web_port}/"

    @property
    def protected(self) -> bool:
        """Whether the page asks for a login."""
        return bool(self.web_user or self.web_password)
