"""The contracts of the data plane with the connections that it keeps."""

from typing import Protocol

from backhaul.state import LinkState

from .outcome import Done, Ending, Progress


class Session(Protocol):
    """A connection with streams on it, which ends with the process."""

    def state(self) -> LinkState:
        """Return the state of the connection as data."""

    def flush(self) -> None:
        """Send all frames that wait, if the connection takes bytes now."""

    def end(self, why: str) -> None:
        """Close the connection, and lose the streams on it."""


class Joined(Protocol):
    """Two ends that are joined, in whatever way bytes move between them."""

    @property
    def moved(self) -> int:
        """A number that rises with every byte that moves, in either direction."""

    @property
    def undelivered(self) -> int:
        """The bytes that the kernel still sends: fewer and fewer while a slow peer reads and nothing else moves."""

    def silent_for(self, seconds: float) -> None:
        """Act on silence: one direction has ended, and nothing has moved for ``seconds``."""

    def close(self, *, reset: bool = False) -> None:
        """Close both ends; later calls do nothing."""


class InFlight(Joined, Protocol):
    """A user in flight."""

    @property
    def done(self) -> Done | None:
        """The owner's record of the user, which is called at the end."""

    def progress(self) -> Progress:
        """Return the progress of the user; call only before the end."""

    def end(self, ending: Ending) -> None:
        """Close both ends and report the outcome; later calls do nothing."""
