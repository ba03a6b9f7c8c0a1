"""The common part of the public ends of all transports: a gate, and idle carriers after it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

from backhaul.relay.fit import Fit
from backhaul.transports.base import Gate, ServerEvents, ServerSettings
from backhaul.wire.signals import Signal


class GatedServer(ABC):
    """The public end of a transport; subclasses say what the gate lets in, and how that carries users."""

    def __init__(self, settings: ServerSettings, events: ServerEvents, make_gate: Callable[[Self], Gate]) -> None:
        self.settings = settings
        self._events = events
        self._gate = make_gate(self)

    @abstractmethod
    def _drop_idle(self) -> None:
        """Let go of whatever has no user: its control channel is gone."""

    @property
    def connected(self) -> bool:
        """True if a control channel is open."""
        return self._gate.connected

    @property
    def rtt(self) -> float:
        """Seconds of a round trip to the client, 0 if not measured."""
        return self._gate.rtt

    def start(self) -> None:
        """Listen; raises OSError."""
        self._gate.start()

    def expect_user(self, waiting: int) -> None:
        """Ask for the connection that will replace the one this user takes."""
        del waiting
        self._gate.send(Signal.CHANNEL)

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""
        self._gate.send(signal)

    def stop_listening(self) -> None:
        """Take no more connections, close the idle ones; users in flight go on."""
        self._gate.stop_listening()
        self._drop_idle()

    def control_opened(self, peer: str) -> None:
        """Tell the control plane."""
        self._events.control_opened(peer)

    @property
    def fit(self) -> Fit:
        """Takes what becomes known of the other end's tunnel connections."""
        return self._events.fit

    def control_lost(self, reason: str, *, goodbye: bool = False) -> None:
        """Let go of what is idle, which belonged to that channel, and tell the control plane."""
        self._drop_idle()
        self._events.control_lost(reason, goodbye=goodbye)
