"""The time limits of the public end."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Time limits in seconds; tests pass shorter ones."""

    user_patience: float = 3.0
    """The time that a user waits for a carrier, as in v0.7.2."""
    answer: float = 5.0
    """The time after which a user who leaves has waited for an answer, and not just changed their mind."""
    absence: float = 5.0
    """The time without a client after which the users' ports refuse connections."""
    restart: float = 10.0
    """The same for a client that announced its stop, and the patience of users meanwhile: most such clients restart."""
    recognition: float = 3.0
    """The interval of checks whether a client is v0.7.2: it sends no hello, and a hello takes a round trip."""
    quiet: float = 1.0
    """The time without a new user after which a stop serves no more of them."""
    handshakes: float = 0.3
    """The time for running TCP handshakes when another process takes over: a round trip to distant users."""
    release_pauses: tuple[float, ...] = (0.05,)
    """The pauses between attempts to listen for the client while the previous process still does."""
    reopen_pauses: tuple[float, ...] = (1, 2, 4, 8, 16, 30)
    """The pauses between attempts to listen after a failure; the last one is repeated without end."""
