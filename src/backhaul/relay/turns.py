"""The order in which the streams of a blocked session send."""

from typing import Final

from .channel import Consumer

_QUIET_AHEAD: Final = 16  # turns of streams that send little, before one that sends much has a turn again


class Turns:
    """Streams that wait for their session. Those that send little go before those that send in bulk.

    They are in lists, because an empty deque takes 600 bytes, and most sessions are not blocked.
    """

    __slots__ = ("_ahead", "_bulk", "_quiet")

    def __init__(self) -> None:
        self._quiet: list[Consumer] = []
        self._bulk: list[Consumer] = []
        self._ahead = 0  # turns of quiet streams since the last one of a bulk stream

    def __len__(self) -> int:
        return len(self._quiet) + len(self._bulk)

    def add(self, consumer: Consumer, *, bulk: bool) -> None:
        """Let ``consumer`` wait for its turn."""
        (self._bulk if bulk else self._quiet).append(consumer)

    def take(self) -> Consumer:
        """Remove and return the next consumer; raises IndexError if none waits."""
        if self._quiet and (self._ahead < _QUIET_AHEAD or not self._bulk):
            self._ahead += 1
            return self._quiet.pop(0)
        self._ahead = 0
        return self._bulk.pop(0)
