"""A door of the client by itself: its settings, and an owner that records what it reports."""

from backhaul.net.sockets import SocketOptions
from backhaul.transports.auth import OwnTokens, Protection, Security
from backhaul.transports.settings import ClientSettings
from backhaul.wire.checks import Check
from backhaul.wire.signals import Signal
from backhaul.wire.smux import Settings

from .mux import Indifferent
from .net import HOST
from .tunnel import TOKEN


def door_settings(port: int, *, greeting_grace: float = 20.0, mux: Settings | None = None) -> ClientSettings:
    """Return the settings for a server on ``port``, with more patience than a test needs."""
    return ClientSettings(
        remote_host=HOST,
        remote_port=port,
        tokens=OwnTokens([TOKEN]),
        tunnel_options=SocketOptions(),
        dial_timeout=10,
        handshake_timeout=10,
        upgrade_timeout=10,
        leave=0,
        greeting_grace=greeting_grace,
        mux=mux or Settings(),
        protection=Protection(Security.LEGACY),
    )


class Complaints(Indifferent):
    """Records mismatches."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def mismatched(self, what: str) -> None:
        self.told.append(what)


class DoorOwner:
    """Records the mismatches and losses that a door reports."""

    def __init__(self) -> None:
        self.fit = Complaints()
        self.lost: list[str] = []

    def signal_received(self, signal: Signal, count: int = 1) -> None: ...

    def refused(self, instance: bytes) -> None: ...
    def check_requested(self, check: Check) -> None: ...

    def control_lost(self, reason: str) -> None:
        self.lost.append(reason)
