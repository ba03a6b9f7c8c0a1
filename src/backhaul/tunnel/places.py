"""The number of present users, of one client and of all."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .admission import Objection

if TYPE_CHECKING:
    from .waiting_users import Waiting  # whose ports have places, too


class Room(Protocol):
    """Where a user takes a place."""

    @property
    def client(self) -> str:
        """The name of the client that serves the user."""

    def pass_on(self, waiting: "Waiting") -> bool:
        """Let another client serve a user who has waited here for too long; return whether one does."""

    def objection(self, ip: str) -> Objection | None:
        """Return why a new user of this address is refused, if so."""

    def enter(self) -> None:
        """Count a new user."""

    def leave(self) -> None:
        """Count the end of a user."""


class Headcount:
    """The number of present users of streams and of datagrams."""

    def __init__(self) -> None:
        self.users = 0


class Places:
    """The users of one client, and their limit."""

    def __init__(
        self, client: str, most: int, everyone: Headcount, objects: Callable[[str, str], Objection | None]
    ) -> None:
        """Admit at most ``most`` users of the client, or any number if that is 0; count them in ``everyone``, too.

        ``objects`` returns the objection of the client's other limits to a user of an address.
        """
        self._objects = objects
        self.client = client
        self.most = most
        self.users = 0
        self.freed: Callable[[], None] = _nobody
        """Called when there is room for a user again, after there was none."""
        self._everyone = everyone

    @property
    def full(self) -> bool:
        """True if the client has reached its maximum of users."""
        return self.users >= self.most > 0

    def objection(self, ip: str) -> Objection | None:
        """Return why a new user of this client and address is refused, if so."""
        if objection := self._objects(self.client, ip):
            return objection
        return Objection("max_connections", f"clients.{self.client}") if self.full else None

    def pass_on(self, waiting: "Waiting") -> bool:
        """Return False: there is no other client."""
        del waiting
        return False

    def enter(self) -> None:
        """Count a new user."""
        self.users += 1
        self._everyone.users += 1

    def leave(self) -> None:
        """Count the end of a user."""
        self.users -= 1
        self._everyone.users -= 1
        if self.users == self.most - 1:
            self.freed()


def _nobody() -> None:
    """Report to nobody."""
