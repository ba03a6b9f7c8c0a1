"""The decoy: a plain web server on the port of ws, wss, wsmux or wssmux, for visitors without the token.

A client with a wrong token and a browser get the same answers, which are those of nginx. ``docs/configuration.md`` has
the configuration of nginx that each kind of decoy imitates.
"""

import asyncio
import functools
import logging
import socket
from collections.abc import Callable
from typing import Final

from backhaul.net.poller import FAULT, Poller
from backhaul.transports.gates.crowd import Crowd
from backhaul.transports.settings import GateLimits

from .site import EmptySite, Site
from .stream import Stream
from .turns import Turns
from .visit import Visit

log = logging.getLogger("backhaul.server")

Claim = Callable[[socket.socket, str, bytes], bool]
"""Takes over a connection whose bytes turn out to be a client's."""

Tokens = Callable[[], tuple[bytes, ...]]
"""Returns the tokens of all clients."""

_NOTHING: Final = "404"


class Decoy:
    """Answers visitors; owns their connections until they are closed or claimed."""

    def __init__(self, poller: Poller, what: str, tokens: Tokens, limits: GateLimits, claim: Claim) -> None:
        """Show ``what``: "404", a directory, or the URL of a website, which must not learn ``tokens``."""
        self._poller = poller
        self._limits = limits
        self._claim = claim
        self._make_site = functools.partial(_make_site, what, tokens, poller, limits)
        self._site: Site = EmptySite()
        self._turns = Turns()
        self._busy: Crowd[_Visitor] = Crowd()
        self._idle: Crowd[_Visitor] = Crowd()

    def open(self) -> None:
        """Prepare for visitors, also after ``close``."""
        self._site = self._make_site()

    def welcome(self, sock: socket.socket, ip: str, network: str, data: bytes, *, plain_on_tls: bool = False) -> None:
        """Take over a connection that has sent ``data``, and serve it."""
        self._make_room(network)
        stream = Stream(self._poller, sock, data, self._limits.send_timeout, self._turns)
        visitor = _Visitor(self, stream, ip, network)
        self._busy.add(network, visitor)
        visitor.start(Visit(stream, self._site, self._limits, plain_on_tls=plain_on_tls))

    def close(self) -> None:
        """Close all connections."""
        for visitor in (*self._busy, *self._idle):
            self._turn_out(visitor)
        self._site.close()

    def claims(self, visitor: "_Visitor", data: bytes) -> bool:
        """Return whether the gate has taken over a visitor's connection."""
        return self._claim(visitor.stream.sock, visitor.ip, data)

    def fault(self, error: Exception) -> None:
        """Report an error in this program."""
        self._poller.faults.fault(FAULT, error)

    def note(self, visitor: "_Visitor", *, idle: bool) -> None:
        """Count a visitor among the idle or the busy ones."""
        self.forget(visitor)
        (self._idle if idle else self._busy).add(visitor.network, visitor)

    def forget(self, visitor: "_Visitor") -> None:
        """Free a visitor's place."""
        self._busy.discard(visitor.network, visitor)
        self._idle.discard(visitor.network, visitor)

    def _make_room(self, network: str) -> None:
        if self._idle.size(network) + self._busy.size(network) >= self._limits.visitors_per_address:
            crowd = self._idle if self._idle.size(network) else self._busy
            self._turn_out(crowd.oldest_of(network))
        elif len(self._idle) + len(self._busy) >= self._limits.visitors:
            crowd = self._idle or self._busy
            self._turn_out(crowd.oldest_of_largest())

    def _turn_out(self, visitor: "_Visitor") -> None:
        self.forget(visitor)
        visitor.turn_out()


class _Visitor:
    """A visitor, as the decoy counts it."""

    __slots__ = ("_decoy", "_task", "ip", "network", "stream")

    def __init__(self, decoy: Decoy, stream: Stream, ip: str, network: str) -> None:
        self._decoy = decoy
        self._task: asyncio.Task[None] | None = None
        self.stream = stream
        self.ip = ip
        self.network = network

    def start(self, visit: Visit) -> None:
        """Begin to serve it."""
        self._task = asyncio.get_running_loop().create_task(self._serve(visit))

    def turn_out(self) -> None:
        """Close the connection."""
        self.stream.close()
        if self._task:
            self._task.cancel()

    def claims(self, data: bytes) -> bool:
        """Let the gate take over the connection if the request is a client's; return whether it is."""
        return self._decoy.claims(self, data)

    def resting(self) -> None:
        """Count the visitor among the idle ones."""
        self._decoy.note(self, idle=True)

    def working(self) -> None:
        """Count the visitor among the busy ones."""
        self._decoy.note(self, idle=False)

    async def _serve(self, visit: Visit) -> None:
        mine = True
        try:
            mine = await visit.run(self)
        except OSError as error:
            log.debug("visitor %s: connection lost: %s", self.ip, error)
        except Exception as error:  # noqa: BLE001 - any error concerns this visitor alone
            self._decoy.fault(error)
        finally:
            self._task = None  # otherwise a cancelled task, its traceback and the visitor would refer to each other
            self._decoy.forget(self)
            if mine:
                self.stream.close()


def _make_site(what: str, tokens: Tokens, poller: Poller, limits: GateLimits) -> Site:
    # Only the modules of the site that is shown take memory.
    if what == _NOTHING:
        return EmptySite()
    if what.startswith(("http://", "https://")):
        from .proxy import Website  # noqa: PLC0415 - see above
        from .scrub import Scrubber  # noqa: PLC0415 - see above

        return Website(what, Scrubber(tokens), poller, limits.upstream_timeout)
    from .files import Directory  # noqa: PLC0415 - see above

    return Directory(what)
