"""A session that ends with its connection."""


class Transient:
    """The part of a session that one which outlives its connections does otherwise."""

    __slots__ = ()

    parked = False
    """True while the session has no connection, and waits for another one."""

    kept = False
    """True if it waits for another connection when one is lost: neither end has announced a stop."""

    resumes = False
    """True if the session outlives its connection; the other end acknowledges its bytes then."""

    def on_ack(self, count: int) -> None:
        """Do nothing: the session keeps no bytes."""

    def on_ask(self) -> None:
        """Do nothing: the session acknowledges no bytes."""

    def on_bye(self) -> None:
        """Do nothing: the session ends with its connection."""
