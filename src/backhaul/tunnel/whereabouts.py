"""Changes after which a line may be dead although this machine has sent nothing: a sleep, and another way."""

from backhaul.net.sockets import SocketOptions
from backhaul.net.source import source_of

from .naps import Naps


class Whereabouts:
    """Notices that this machine has slept, or that new connections to the server leave from another address."""

    def __init__(self, nap: float, *, mark: int = 0, interface: str = "") -> None:
        """Count a pause of more than ``nap`` seconds as a sleep; mark and interface choose the way to the server."""
        self._naps = Naps(nap)
        self._options = SocketOptions(mark=mark, interface=interface)
        self._server = ""
        self._source = ""

    def begin(self, server: str) -> None:
        """Watch the way to the address of a server."""
        self._naps.begin()
        self._server = server
        self._source = source_of(server, self._options)

    def changed(self) -> bool:
        """Return whether anything has changed since the last call; a way that is missing is no other one yet."""
        before, self._source = self._source, source_of(self._server, self._options)
        moved = bool(self._source) and self._source != before
        return self._naps.woke() or moved
