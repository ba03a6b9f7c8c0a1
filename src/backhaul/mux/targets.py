"""The targets of a session's streams, which their first bytes name."""

from typing import TYPE_CHECKING, Final, Protocol

from backhaul.wire.strings import StringReader, encode_string
from backhaul.wire.targets import MAX_TARGET

if TYPE_CHECKING:
    from .sink import TunnelStream


class TargetReader(Protocol):
    """Collects the target at the beginning of a stream."""

    def feed(self, data: memoryview) -> tuple[bytes, bytes] | None:
        """Take more bytes; return the target once it is complete, and the bytes after it."""


class Targets(Protocol):
    """The form of targets on a session."""

    def announce(self, stream: "TunnelStream", target: bytes) -> None:
        """Begin a stream with its target."""

    def reader(self, stream: "TunnelStream") -> TargetReader:
        """Return the reader of the target of a stream that the peer has opened."""


class _ClearTargets:
    """Targets as they are, as those of v0.7.2."""

    def announce(self, stream: "TunnelStream", target: bytes) -> None:
        """Begin a stream with its target."""
        stream.push(encode_string(target))

    def reader(self, stream: "TunnelStream") -> TargetReader:
        """Return the reader of a target."""
        del stream
        return StringReader(MAX_TARGET)


CLEAR: Final = _ClearTargets()
