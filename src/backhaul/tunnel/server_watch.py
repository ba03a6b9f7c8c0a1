"""The client's watch over its server: it asks a silent one for a sign of life, on another connection as well."""

import asyncio
import random
from collections.abc import Callable
from typing import Final, Protocol

from backhaul.errors import TransportError
from backhaul.transports.client_end import Answer

from .liveness import Liveness
from .timings import Timings

_EARLIEST: Final = 0.7  # of the pause before a question: a clock's beat is a mark by which others know the tunnel


class Watched(Protocol):
    """The client's transport, as its watch uses it."""

    @property
    def protected(self) -> bool:
        """True while the control channel is protected."""

    @property
    def can_ask(self) -> bool:
        """True if this server answers when it is asked for a sign of life."""

    @property
    def in_use(self) -> bool:
        """True while users are on connections that only the control channel shows to be dead."""

    def probe(self) -> None:
        """Ask the server for a sign of life on the control channel."""

    async def measure(self) -> Answer:
        """Ask the server on a connection of its own. Raises OSError or TransportError."""


class ServerWatch:
    """Gives up a control channel on which the server is silent, if there is a better one.

    A protected server is asked after each pause. If it does not answer in time it is asked on a connection of its own:
    the control channel is given up when the answer arrives there first, or when several such questions fail. A slow or
    suspended server answers neither, and a full line delays both, so neither of them costs the control channel.
    """

    def __init__(
        self, transport: Watched, timings: Timings, lost: Callable[[str], None], others: Callable[[], bool]
    ) -> None:
        """``lost`` is called with the reason for giving the control channel up.

        ``others`` returns whether there are other servers, for which a client leaves this one sooner.
        """
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._timings = timings
        self._lost = lost
        self._others = others
        self._liveness = Liveness(timings)
        self._last_user = -timings.recent
        self._share = 1.0  # of the next pause
        self._judging: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None  # on other connections

    def begin(self) -> None:
        """Watch a new control channel, on which the server was asked for a sign of life, after the last ``end``."""
        self._liveness.begin(self._loop.time())

    def end(self) -> None:
        """Stop judging, because the control channel is gone."""
        if self._judging:
            self._judging.cancel()
            self._judging = None
        if self._asking:
            self._asking.cancel()
            self._asking = None

    def heard(self) -> None:
        """Note a message of the server."""
        self.end()
        self._liveness.alive(self._loop.time())

    def beat(self) -> None:
        """Note a heartbeat of the server."""
        self.end()
        self._liveness.beat(self._loop.time())

    def user_came(self) -> None:
        """Note a user; others may follow."""
        self._last_user = self._loop.time()

    def doubt(self) -> None:
        """Ask for a sign of life now, because the line may be dead; once per silence."""
        if self._transport.can_ask and self._liveness.suspect(self._loop.time()):
            self._share = random.uniform(_EARLIEST, 1)  # noqa: S311 - no secret
            self._transport.probe()
            self._judging = self._loop.call_later(self._liveness.patience, self._judge)

    def disowned(self) -> None:
        """Ask on another connection at once, because the server may know a control channel in doubt no more.

        However long answers have taken, a dead channel is left when the answer arrives there first. Without one the
        next refusal is a reason to ask again.
        """
        if self._transport.protected and self._judging and not (self._asking and not self._asking.done()):
            self._asking = self._loop.create_task(self._ask_early())

    def look(self) -> None:
        """Ask a silent server for a sign of life, and give it up when the silence lasts."""
        now, can_ask = self._loop.time(), self._transport.can_ask
        if self._transport.protected and self._liveness.silent_for(now) > self._pause(now):
            self.doubt()
        if can_ask and self._liveness.doubtful(now):
            self._transport.probe()
        if self._liveness.lasts_too_long(now, can_ask=can_ask):
            self._lost(f"no heartbeat for {self._liveness.limit(can_ask=can_ask):.0f} s")

    def _pause(self, now: float) -> float:
        timings = self._timings
        used = self._transport.in_use or now - self._last_user < timings.recent
        return self._share * (timings.ask_in_use if used else timings.ask)

    def _judge(self) -> None:
        why = f"no answer within {self._liveness.patience:.2g} s"
        if self._asking:
            self._asking.cancel()
        if self._transport.protected:
            self._asking = self._loop.create_task(self._ask_beside(why))
        else:
            self._lost(why)

    async def _ask_early(self) -> None:
        """Ask on another connection once; without an answer the control channel keeps all of its time."""
        if await self._answers():
            self._lost("no answer after a refused connection, but on another connection")

    async def _ask_beside(self, why: str) -> None:
        """Ask on other connections, one after the other, until the server answers on one of them."""
        for _ in range(1 if self._others() else self._timings.asked_beside):
            begun = self._loop.time()
            if await self._answers():
                self._lost(f"{why}, but on another connection")
                return
            await asyncio.sleep(begun + self._timings.look - self._loop.time())
        self._lost(f"{why}, nor on other connections")

    async def _answers(self) -> bool:
        """Return whether the server answers on a connection of its own, for which a slow line gets more time."""
        try:
            async with asyncio.timeout(max(self._timings.beside, 2 * self._liveness.patience)):
                await self._transport.measure()
        except (OSError, TransportError):
            return False
        return True
