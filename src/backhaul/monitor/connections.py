"""The connections of an end for the monitor: a row for each user in flight, made when it is asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from msgspec import Struct

from backhaul.selection import Selection

SLICE: Final = 200
"""Rows between two pauses: 2 ms of CPU time."""
SLICE_OF_CLOSED: Final = 100
"""Users between two pauses while users are closed."""


class ConnectionStatus(Struct, frozen=True, gc=False):
    """A user in flight."""

    id: int
    """Unique in the process."""
    protocol: str
    """The user's own protocol, TCP or UDP, in lower case."""
    since: float
    """The user's arrival, in seconds since 1970, UTC."""
    user: str
    """The user's address and port; empty on the client, which does not know them."""
    port: str
    """The local port of the server, as in the status; empty on the client."""
    client: str
    """The name of the client, or its address; empty on the client."""
    target: str
    carrier: str
    """The transport, and the stream of a session if there is one."""
    state: str
    """open, user ended, target ended, ending, waiting, dialling or refused."""
    received: int
    """Bytes received from the user."""
    sent: int
    """Bytes sent to the user."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The users in flight of one end; both are called in the event loop, which may run between two items."""

    rows: Callable[[Selection], Iterator[ConnectionStatus | None]]
    """Returns the chosen users, and None for each of the others."""
    close: Callable[[Selection], Iterator[bool]]
    """Resets the chosen users; yields for each user whether it was chosen."""

    def batches(self, selection: Selection) -> Iterator[list[ConnectionStatus]]:
        """Return the chosen users in slices."""
        rows = self.rows(selection)
        while batch := list(islice(rows, SLICE)):
            yield [row for row in batch if row]

    def closed(self, selection: Selection) -> Iterator[int]:
        """Reset the chosen users in slices; yield the number of each."""
        users = self.close(selection)
        while batch := list(islice(users, SLICE_OF_CLOSED)):
            yield sum(batch)
