"""The sink of streams that nobody wants."""

from typing import Final

from backhaul.wire.smux import SmuxError


class _Nobody:
    def on_data(self, view: memoryview) -> int:
        """See smux.Sink."""
        return len(view)

    def on_fin(self) -> None:
        """See smux.Sink."""

    def on_window(self) -> None:
        """See smux.Sink."""

    def on_lost(self, reason: SmuxError) -> None:
        """See smux.Sink."""


NOBODY: Final = _Nobody()
