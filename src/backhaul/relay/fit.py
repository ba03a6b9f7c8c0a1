"""What becomes known of whether the tunnel connections of the other end are what this end expects."""

from typing import Protocol


class Fit(Protocol):
    """Takes the signs, wherever they are seen."""

    def mismatched(self, what: str) -> None:
        """They are something else; `what` is a sentence with the remedy."""

    def seen(self) -> None:
        """One is there, and nothing speaks against it."""

    def proved(self) -> None:
        """One has shown that a user could be carried."""
