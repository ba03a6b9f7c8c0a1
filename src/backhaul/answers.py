"""The answers to the requests of the status socket."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from backhaul.monitor.connections import Connections
from backhaul.monitor.status import Read
from backhaul.state import Selection

from . import __version__
from .errors import UNREADABLE

_UNKNOWN: Final = "unknown request; this program knows status, connections and close"
_NOTHING: Final = "close: name a user, an address or a port"


class Answers:
    """Answers ``status``, ``connections`` and ``close``, the latter two with a ``Selection`` in JSON after a space."""

    def __init__(self, file: Path, read: Read, connections: Connections) -> None:
        """Prepare; ``file`` is the name of the configuration."""
        self._file = file
        self._read = read
        self._connections = connections

    def __call__(self, request: str) -> Iterator[bytes]:
        """Return the JSON document in slices."""
        word, _, rest = request.strip().partition(" ")
        if word in {"", "status"}:
            yield self._document(msgspec.to_builtins(self._read()))
        elif word == "connections":
            yield from self._connections.document(self._head(), _selection(rest))
        elif word == "close":
            yield from self._close(rest)
        else:
            yield self._document({"error": _UNKNOWN})

    def _close(self, choice: str) -> Iterator[bytes]:
        selection = _selection(choice)
        if selection.everyone:
            yield self._document({"error": _NOTHING})
            return
        closed = 0
        for count in self._connections.closed(selection):
            closed += count
            yield b""
        yield self._document({"closed": closed})

    def _head(self) -> dict[str, object]:
        return {"config": str(self._file.absolute()), "version": __version__}

    def _document(self, fields: dict[str, object]) -> bytes:
        return msgspec.json.encode(self._head() | fields)


def _selection(text: str) -> Selection:
    """Read a selection; one that is missing or broken chooses every user."""
    try:
        return msgspec.json.decode(text, type=Selection)
    except UNREADABLE:
        return Selection()
