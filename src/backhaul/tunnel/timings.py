"""How long the public end waits for what."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds; tests pass shorter ones."""

    reopen_pauses: tuple[float, ...] = (1, 2, 4, 8, 16, 30)
    """Before each new attempt to listen where it failed; the last one is repeated for ever."""
