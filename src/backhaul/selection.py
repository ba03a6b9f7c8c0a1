"""A choice among users in flight, to list or to close them."""

from msgspec import Struct

from .state import UserState


class Selection(Struct, frozen=True):
    """A choice among users; each field that is set narrows it."""

    number: int = 0
    host: str = ""
    """The address of the users."""
    port: int = 0
    """The user's own port."""
    bind_port: int = 0
    """The local port of the server."""
    protocol: str = ""
    """TCP or UDP, in lower case."""
    client: str = ""
    """The name of the client, or its address."""
    target: str = ""

    @property
    def everyone(self) -> bool:
        """True if no field is set."""
        return self == Selection()

    def chooses(self, user: UserState) -> bool:
        """Return whether ``user`` is chosen."""
        return (
            self.number in {0, user.number}
            and self.host in {"", user.host}
            and self.port in {0, user.port}
            and self.bind_port in {0, user.bind_port}
            and self.protocol in {"", user.protocol}
            and self.client in {"", user.client}
            and self.target in {"", user.target}
        )
