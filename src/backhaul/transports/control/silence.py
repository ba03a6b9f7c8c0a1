"""The silence of a control channel."""

from collections.abc import Callable
from typing import Final

NOTABLE: Final = 5.0
"""The seconds of silence before a loss that its reason names: a proxy or a NAT may allow no more."""


class Silence:
    """Measures the time since bytes have moved in either direction."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since = now()
        self._moved = True  # since the last call of `fell`

    def broken(self) -> None:
        """Note that bytes have moved."""
        self._since = self._now()
        self._moved = True

    def fell(self) -> bool:
        """Return whether no bytes have moved since the last call."""
        moved, self._moved = self._moved, False
        return not moved

    def before(self, loss: str) -> str:
        """Return the reason of a loss, with the silence before it if that was long."""
        seconds = self._now() - self._since
        return loss if seconds < NOTABLE else f"{loss} after {seconds:.0f} s of silence"
