"""The common part of all doors: the choice between a protected tunnel and v0.7.2's way."""

import logging
from abc import ABC, abstractmethod
from typing import Final

from backhaul.errors import TransportError
from backhaul.net.poller import Poller
from backhaul.net.resolver import Resolver
from backhaul.net.ways import make_dialer
from backhaul.security.psk import pre_shared_key
from backhaul.threads import in_thread
from backhaul.transports.client_end import Answer, DoorEvents, Opened
from backhaul.transports.settings import ClientSettings
from backhaul.wire.checks import Check, Health
from backhaul.wire.peer import Peer
from backhaul.wire.signals import Signal

from .lines import NO_LINE, Line

log = logging.getLogger("backhaul.client")

_BARE = (
    "%s is not protected: it runs v0.7.2 or another version of this program, has another token, or an attacker in "
    "between prevents the handshake; the token and users' bytes cross the line in clear. "
    'Run the same version of this program on both ends, then set security = "required" on both'
)
_PROTECTED = 'Does the server run this program, with security = "required" or "auto"? If so, update the older end'
_SILENT = "the line or a machine is too slow, or another program listens there"

USUAL_HINT: Final = "is the token right?"
"""The question about an answer whose likely reason is another token."""

MAX_PADDING: Final = 64
"""Bytes after an admission, a random number below this, so that first packets differ in size."""


class UnansweredError(TransportError):
    """The server did not answer the handshake: it may be v0.7.2."""

    def __init__(self, what: str = "", hint: str = USUAL_HINT) -> None:
        """Describe the answer; ``hint`` is a question that names the settings to check."""
        super().__init__(what)
        self.hint = hint


class SilentError(UnansweredError):
    """The server sent nothing, as on a bad line; v0.7.2, or a server that refuses the token, closes the connection."""


class RefusedError(TransportError):
    """The server has the token, and refuses this client."""

    def __init__(self, why: str, instance: bytes = b"") -> None:
        """Give the reason; ``instance`` is that of the server's process, if it says."""
        super().__init__(why)
        self.instance = instance


class SealingDoor(ABC):
    """Opens the control channel, protected if possible; subclasses know how connections begin."""

    _events: DoorEvents

    def __init__(self, poller: Poller, settings: ClientSettings, resolver: Resolver) -> None:
        self._poller = poller
        self._dialer = make_dialer(poller, settings.dial_timeout, resolver, settings.proxy, settings.bridges)
        self._settings = settings
        self._tokens = settings.tokens
        self._line: Line = NO_LINE
        self._mute = False  # a question was not answered

    def start(self, events: DoorEvents) -> None:
        """Report to ``events`` from now on."""
        self._events = events

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""
        settings, address = self._settings, self._settings.remembered_as
        if not settings.protection.seals:
            return await self._connect_legacy()
        try:
            return await self._try_tokens()
        except UnansweredError as error:
            self._may_fall_back(error)
        except RefusedError as error:
            self._note_protection(address)
            self._events.refused(error.instance)
            raise
        peer = await self._connect_legacy()
        log.warning(_BARE, address)
        return peer

    async def _try_tokens(self) -> str:
        """Open a protected control channel with the first token that is answered, before any is shown.

        Raises OSError, TransportError, or UnansweredError after the last one.
        """
        unanswered = UnansweredError()
        for _ in range(len(self._tokens)):
            await in_thread(pre_shared_key, self._tokens.current)  # it may take 100 ms
            try:
                return await self._connect_sealed()
            except SilentError as error:
                raise TransportError(f"{error}: {_SILENT}") from None
            except UnansweredError as error:
                unanswered = error
                self._tokens.refused()
        raise unanswered

    @property
    def measurable(self) -> bool:
        """True if the server may be asked on a connection of its own: one of v0.7.2 would use it for a user."""
        protection, known = self._settings.protection, self._settings.known
        sure = not protection.allows_v072 or known.protected(self._settings.remembered_as)
        return sure or (protection.seals and not self._mute)

    async def measure(self) -> Answer:
        """Ask the server on a connection of its own whether this client fits. Raises OSError or TransportError."""
        await in_thread(pre_shared_key, self._tokens.current)  # it may take 100 ms
        try:
            return await self._ask()
        except UnansweredError:
            self._mute = not self.protected  # the line is bad if it is
            raise

    @abstractmethod
    async def _ask(self) -> Answer:
        """Send a probe, and wait for its answer. Raises OSError, UnansweredError or TransportError."""

    @abstractmethod
    async def _connect_sealed(self) -> str:
        """Open a protected control channel. Raises OSError, UnansweredError or TransportError."""

    @abstractmethod
    async def _connect_legacy(self) -> str:
        """Open a control channel as v0.7.2 does. Raises OSError or TransportError."""

    def dial(self, done: Opened, *, resumes: bool = False) -> None:
        """Open a tunnel connection in the background and call ``done`` once, unless disconnected or closed before.

        Without a control channel there is no admission; v0.7.2's way would show the token.
        """
        if self._line is NO_LINE:
            done(TransportError("the control channel is gone"))
        else:
            self._dial_tunnel(self._line, done, resumes=resumes)

    @abstractmethod
    def _dial_tunnel(self, line: Line, done: Opened, *, resumes: bool) -> None:
        """Open a tunnel connection in the way of ``line``, as ``dial`` does."""

    def send(self, signal: Signal) -> None:
        """Send ``signal`` on the control channel, if there is one."""
        self._line.send(signal)

    def refuse(self, target: str, reason: str) -> None:
        """Tell a server with extensions why a target is not dialled."""
        self._line.refuse(target, reason)

    def report(self, health: Health) -> None:
        """Tell the server the outcome of a health check."""
        self._line.report(health)

    def tell_ended(self, identity: bytes) -> None:
        """Tell a server with extensions that this end has ended a session."""
        self._line.tell_ended(identity)

    @property
    def protected(self) -> bool:
        """True while the control channel is protected."""
        return self._line.keys is not None

    @property
    def server(self) -> Peer:
        """The server, or one of v0.7.2 without a control channel."""
        return self._line.server

    @property
    def server_address(self) -> str:
        """Host and port of the server, as the configuration has them."""
        return f"{self._settings.remote_host}:{self._settings.remote_port}"

    @property
    def private(self) -> bool:
        """True if an eavesdropper can't read the bytes of users."""
        return bool(self._settings.tls or (self._line.keys and self._line.keys.payload))

    @property
    def can_ask(self) -> bool:
        """True if this server answers when it is asked for a sign of life."""
        return self._line.can_ask

    def probe(self) -> None:
        """Ask the server for a sign of life, if it can be asked; ``signal_received`` reports the answer."""
        self._line.probe()

    def _agree(self, warning: str, line: Line, rest: bytes) -> None:
        """Use a protected control channel from now on. Raises TransportError if its first bytes have ended it."""
        self._note_protection(self._settings.remembered_as)
        if warning:
            log.warning("%s", warning)
        self._line = line
        line.start(rest)
        if self._line is not line:
            raise TransportError("the control channel was lost at once")

    def _heard(self, signal: Signal, count: int = 1) -> None:
        self._events.signal_received(signal, count)

    def _check_wanted(self, check: Check) -> None:
        self._events.check_requested(check)

    def _hang_up(self) -> None:
        line, self._line = self._line, NO_LINE
        line.close()

    def _lost(self, reason: str) -> None:
        self._line = NO_LINE
        self._events.control_lost(reason)

    def _may_fall_back(self, error: UnansweredError) -> None:
        """Raise TransportError unless v0.7.2's way may be tried."""
        settings = self._settings
        if not settings.protection.allows_v072:
            raise TransportError(f"{error}: {error.hint} {_PROTECTED}") from None
        if settings.known.protected(settings.remembered_as):
            raise TransportError(
                f"{error}, but was protected before: is the token right? An attacker in between may prevent the "
                "handshake. If the server runs another version of this program, update the older end; if it runs "
                f"v0.7.2 again, remove its line from {settings.known.file}"
            ) from None

    def _note_protection(self, address: str) -> None:
        known = self._settings.known
        if not known.protected(address) and known.remember(address):
            log.info(
                "%s is protected, and will get no bare token any more; %s remembers it, and forgets it when its line "
                "is removed",
                address,
                known.file,
            )
