"""Who may change something through a door of the API."""

from http import HTTPStatus
from typing import Final, Protocol

from backhaul.monitor.http_messages import Request

from .errors import RefusedError

HEADER: Final = "X-Backhaul"
"""The header of requests that change something on the page's port. Its value does not matter."""


class Guard(Protocol):
    """Judges requests that change something."""

    @property
    def may_change(self) -> bool:
        """True if any request is granted."""

    @property
    def needs_header(self) -> bool:
        """True if requests need the header of this module."""

    @property
    def needs_login(self) -> bool:
        """True if visitors have shown user name and password."""

    def judge(self, request: Request) -> None:
        """Raise RefusedError for a request that is not granted."""


class SocketGuard:
    """The guard of the status socket, which only root and the program's own user can open."""

    may_change = True
    needs_header = False
    needs_login = False

    def judge(self, request: Request) -> None:
        """Grant everything."""


class PageGuard:
    """The guard of the page's port: grants changes to visitors with a login, and to no website.

    A website can make a browser that knows the login send requests, but none with a header of its own, because for
    those the browser asks this server first. Browsers also name the origin.
    """

    needs_header = True

    def __init__(self, *, login: bool) -> None:
        """``login`` is true if the page requires one."""
        self.may_change = self.needs_login = login

    def judge(self, request: Request) -> None:
        """Raise RefusedError without a login, or for a request of a website."""
        if not self.may_change:
            raise RefusedError("changes need a login: set web_user and web_password", HTTPStatus.FORBIDDEN)
        own = {f"http://{request.host}", f"https://{request.host}", ""}
        same = request.fetch_site in {"", "same-origin"}
        if not (request.intent and same and request.origin in own):
            raise RefusedError(f"send the header {HEADER}: 1, from this page or from a program", HTTPStatus.FORBIDDEN)
