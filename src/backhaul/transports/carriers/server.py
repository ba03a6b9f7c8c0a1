"""The common part of the public ends of all transports: a gate, and idle carriers after it."""

from abc import ABC, abstractmethod

from backhaul.relay.fit import Fit
from backhaul.transports.connection import Connection
from backhaul.transports.public_end import Gate, ServerEvents
from backhaul.transports.session import NO_CLIENT, ClientSession
from backhaul.transports.settings import CarrierLimits, ServerSettings
from backhaul.wire.checks import Health
from backhaul.wire.signals import Signal


class GatedServer(ABC):
    """The public end of a transport; subclasses make the gate, and the carriers of users."""

    _events: ServerEvents

    def __init__(self, settings: ServerSettings, limits: CarrierLimits, gate: Gate) -> None:
        self._settings = settings
        self._limits = limits
        self.session: ClientSession = NO_CLIENT
        self._gate = gate

    @abstractmethod
    def _drop_idle(self) -> None:
        """Close carriers without a user, because their control channel has ended."""

    @abstractmethod
    def tunnel_opened(self, connection: Connection) -> None:
        """Take over a tunnel connection."""

    def apply(self, limits: CarrierLimits) -> None:
        """Use other limits from now on; open connections stay."""
        self._limits = limits

    def start(self, events: ServerEvents) -> None:
        """Listen, and report to ``events``; raises OSError."""
        self._events = events
        self._gate.start(self)

    def expect_user(self, waiting: int) -> None:
        """Request the connection that will replace the one that this user takes."""
        del waiting
        self.session.send(Signal.CHANNEL)

    def beat(self) -> None:
        """Send the heartbeat."""
        self.session.send(Signal.HEARTBEAT)

    def stop_listening(self) -> None:
        """Stop listening, and close idle connections; users in flight go on."""
        self._gate.stop_listening()
        self.session = NO_CLIENT
        self._drop_idle()

    def client_connected(self, session: ClientSession) -> None:
        """Serve this client, and tell the control plane."""
        self.session = session
        self._events.client_connected(session)

    @property
    def fit(self) -> Fit:
        """The evidence of whether both ends run the same transport."""
        return self._events.fit

    def target_refused(self, target: str, reason: str) -> None:
        """Tell the control plane."""
        self._events.target_refused(target, reason)

    def health_reported(self, health: Health) -> None:
        """Tell the control plane."""
        self._events.health_reported(health)

    def client_lost(self, reason: str, *, goodbye: bool = False) -> None:
        """Close the idle carriers, which belonged to that session, and tell the control plane."""
        self.session = NO_CLIENT
        self._drop_idle()
        self._events.client_lost(reason, goodbye=goodbye)
