"""The times of users for the metrics."""

from collections.abc import Callable, Iterator

from backhaul.state import UserTimesState

Times = Callable[[], Iterator[UserTimesState]]
"""Returns the times by port and client, each read when it is asked for; called in the event loop."""


def no_times() -> Iterator[UserTimesState]:
    """Return nothing, for an end that times no users."""
    return iter(())
