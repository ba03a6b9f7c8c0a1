"""The signs that tell whether both ends run the same transport."""

from typing import Protocol


class Fit(Protocol):
    """Takes the signs from all places where they are seen."""

    def mismatched(self, what: str) -> None:
        """Note a connection of another transport; ``what`` is a sentence with the remedy."""

    def seen(self) -> None:
        """Note a connection that nothing speaks against."""

    def proved(self) -> None:
        """Note a connection that has shown that it could carry a user."""
