"""The sink of a stream in a tunnel: the events of smux, and the reset that only two ends of this program know."""

from typing import Final, Protocol, TypeAlias

from backhaul.wire.smux import Sink, SmuxError, Stream


class TunnelSink(Sink, Protocol):
    """A ``smux.Sink`` whose stream the other end can reset; ``relay.channel.Consumer`` is one."""

    def on_reset(self) -> None:
        """Learn that the other end, which runs this program, has given the stream up."""


TunnelStream: TypeAlias = Stream[TunnelSink]


class _Nobody:
    """Takes payload and drops it."""

    def on_data(self, view: memoryview) -> int:
        """See smux.Sink."""
        return len(view)

    def on_fin(self) -> None:
        """See smux.Sink."""

    def on_window(self) -> None:
        """See smux.Sink."""

    def on_lost(self, reason: SmuxError) -> None:
        """See smux.Sink."""

    def on_reset(self) -> None:
        """See TunnelSink."""


NOBODY: Final = _Nobody()
"""The sink of a stream that has no consumer, or none any more."""
