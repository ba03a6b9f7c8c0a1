"""The common part of the public ends of all transports: a gate, and idle carriers after it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

from backhaul.relay.fit import Fit
from backhaul.transports.base import Gate, ServerEvents
from backhaul.transports.session import NO_CLIENT, ClientSession
from backhaul.transports.settings import CarrierLimits, ServerSettings
from backhaul.wire.signals import Signal


class GatedServer(ABC):
    """The public end of a transport; subclasses say what the gate lets in, and how that carries users."""

    def __init__(
        self,
        settings: ServerSettings,
        limits: CarrierLimits,
        events: ServerEvents,
        make_gate: Callable[[Self], Gate],
    ) -> None:
        self._settings = settings
        self._limits = limits
        self.session: ClientSession = NO_CLIENT
        self._events = events
        self._gate = make_gate(self)

    @abstractmethod
    def _drop_idle(self) -> None:
        """Let go of whatever has no user: its control channel is gone."""

    def apply(self, limits: CarrierLimits) -> None:
        """See ServerTransport."""
        self._limits = limits

    def start(self) -> None:
        """Listen; raises OSError."""
        self._gate.start()

    def expect_user(self, waiting: int) -> None:
        """Ask for the connection that will replace the one this user takes."""
        del waiting
        self.session.send(Signal.CHANNEL)

    def beat(self) -> None:
        """Send the heartbeat."""
        self.session.send(Signal.HEARTBEAT)

    def stop_listening(self) -> None:
        """Take no more connections, close the idle ones; users in flight go on."""
        self._gate.stop_listening()
        self.session = NO_CLIENT
        self._drop_idle()

    def client_connected(self, session: ClientSession) -> None:
        """Serve this client, and tell the control plane."""
        self.session = session
        self._events.client_connected(session)

    @property
    def fit(self) -> Fit:
        """Takes what becomes known of the other end's tunnel connections."""
        return self._events.fit

    def client_lost(self, reason: str, *, goodbye: bool = False) -> None:
        """Let go of what is idle, which belonged to that session, and tell the control plane."""
        self.session = NO_CLIENT
        self._drop_idle()
        self._events.client_lost(reason, goodbye=goodbye)
