"""The sink of a stream in a tunnel: the events of smux, and the reset between two ends of this program."""

from typing import Final, Protocol, TypeAlias

from backhaul.wire.smux import Sink, SmuxError, Stream


class TunnelSink(Sink, Protocol):
    """A ``smux.Sink`` whose stream the other end can reset; ``relay.channel.Consumer`` is one."""

    def on_reset(self) -> None:
        """Learn that the other end, which runs this program, has reset the stream."""


TunnelStream: TypeAlias = Stream[TunnelSink]


class _Nobody:
    """Drops payload and ignores all events."""

    def on_data(self, view: memoryview) -> int:
        """Count the payload as consumed."""
        return len(view)

    def on_fin(self) -> None:
        """Do nothing."""

    def on_window(self) -> None:
        """Do nothing."""

    def on_lost(self, reason: SmuxError) -> None:
        """Do nothing."""

    def on_reset(self) -> None:
        """Do nothing."""


NOBODY: Final = _Nobody()
"""The sink of a stream before it has a consumer, and after."""
