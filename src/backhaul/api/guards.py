"""The guards of the API's doors: they decide which requests may change something."""

from http import HTTPStatus
from typing import Final, Protocol

from backhaul.monitor.http_messages import Request
from backhaul.monitor.settings import Login

from .errors import RefusedError

HEADER: Final = "X-Backhaul"
"""The header of requests that change something on the page's port. Its value does not matter."""


HOW: Final = "set web_user and web_password, or web_client_ca"
"""The remedy for a page without a login."""


class Guard(Protocol):
    """Judges requests that change something."""

    @property
    def may_change(self) -> bool:
        """True if any request is granted."""

    @property
    def needs_header(self) -> bool:
        """True if requests need the header of this module."""

    @property
    def logins(self) -> tuple[Login, ...]:
        """The ways to log in, each of which suffices; without any, no login is required."""

    def judge(self, request: Request) -> None:
        """Raise RefusedError for a request that is not granted."""


class SocketGuard:
    """The guard of the status socket, which only root and the program's own user can open."""

    may_change = True
    needs_header = False
    logins: tuple[Login, ...] = ()

    def judge(self, request: Request) -> None:
        """Grant everything."""


class PageGuard:
    """The guard of the page's port: grants changes to visitors with a login, and to no website.

    A website can make a browser that knows the login send requests, but none with a header of its own, because for
    those the browser asks this server first. Browsers also name the origin.
    """

    needs_header = True

    def __init__(self, logins: tuple[Login, ...]) -> None:
        """``logins`` are those of the page, which admits no other visitors."""
        self.logins = logins
        self.may_change = bool(logins)

    def judge(self, request: Request) -> None:
        """Raise RefusedError without a login, or for a request of a website."""
        if not self.may_change:
            raise RefusedError(f"changes need a login: {HOW}", HTTPStatus.FORBIDDEN)
        own = {f"http://{request.host}", f"https://{request.host}", ""}
        same = request.fetch_site in {"", "same-origin"}
        if not (request.intent and same and request.origin in own):
            raise RefusedError(f"send the header {HEADER}: 1, from this page or from a program", HTTPStatus.FORBIDDEN)
