"""How long the public end waits for what."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds; tests pass shorter ones."""

    user_patience: float = 3.0
    """For which a user waits for a carrier, as in v0.7.2."""
    answer: float = 5.0
    """After which a user who leaves without an answer has waited for one; before that he has changed his mind."""
    absence: float = 5.0
    """Without a client until the users' ports refuse connections."""
    restart: float = 10.0
    """For a client that has said that it stops, and for the users who come meanwhile: most such clients restart."""
    recognition: float = 3.0
    """Between looks whether a client is v0.7.2: it says nothing of itself, and our hello takes a round trip."""
    quiet: float = 1.0
    """Without a user who comes until a stop need not serve more of them."""
    handshakes: float = 0.3
    """For TCP handshakes that are under way when another process takes over: a round trip to users far away."""
    release_pauses: tuple[float, ...] = (0.05,)
    """Before each new attempt to listen for the client where the process before this one has not left yet."""
    reopen_pauses: tuple[float, ...] = (1, 2, 4, 8, 16, 30)
    """Before each new attempt to listen where it failed; the last one is repeated for ever."""
