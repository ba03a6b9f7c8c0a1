"""The numbers of a minute, and of a day."""

from typing import NamedTuple

from msgspec import Struct


class Sample(NamedTuple):
    """The numbers of one minute."""

    minute: int
    """Since 1970."""
    users: int
    """Users at its end, with UDP flows."""
    new: int
    refused: int
    waiting: int
    """Users without a tunnel connection at its end."""
    received: int
    """Bytes from users."""
    sent: int
    """Bytes to users."""

    def after(self, earlier: "Sample") -> "Sample":
        """Return the sum of two parts of the same minute."""
        return self._replace(
            new=self.new + earlier.new,
            refused=self.refused + earlier.refused,
            received=self.received + earlier.received,
            sent=self.sent + earlier.sent,
        )


class HistoryStatus(Struct, frozen=True):
    """The numbers of the last day."""

    now: float
    """Seconds since 1970, UTC."""
    series: list[str]
    """The ports with a history, or on the client the targets; and each client and group of a server, as
    ``client NAME`` and ``group NAME``."""
    samples: list[Sample]
    """Those of the chosen one, by time. There is none for a minute without the program."""
