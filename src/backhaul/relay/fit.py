"""The evidence of whether both ends run the same transport."""

from typing import Protocol


class Fit(Protocol):
    """Collects the evidence from all carriers."""

    def mismatched(self, what: str) -> None:
        """Note a connection of another transport; ``what`` is a sentence with the remedy."""

    def seen(self) -> None:
        """Note a connection without signs of a mismatch."""

    def proved(self) -> None:
        """Note a connection that has proved that it can carry a user."""

    def ceased(self) -> None:
        """Note that nothing arrives on the connections any more, although the control channel works."""
