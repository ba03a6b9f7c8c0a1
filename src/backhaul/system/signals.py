"""The signals of the process, for one end or for several in one process."""

import asyncio
from collections.abc import Callable
from signal import Signals
from typing import Final, Protocol


class SignalSource(Protocol):
    """A source of signals."""

    def on(self, number: Signals, act: Callable[[], None]) -> None:
        """Call ``act`` for each signal of this number."""


class LoopSignals:
    """The signals of the process, all of which are for one end."""

    def on(self, number: Signals, act: Callable[[], None]) -> None:
        """Call ``act`` for each signal of this number."""
        asyncio.get_running_loop().add_signal_handler(number, act)


ONLY_END: Final = LoopSignals()
"""The signals of a process with one end."""


class PassedSignals:
    """Signals that the owner of several ends passes to one of them."""

    def __init__(self) -> None:
        self._acts: dict[Signals, Callable[[], None]] = {}

    def on(self, number: Signals, act: Callable[[], None]) -> None:
        """Call ``act`` for each signal of this number."""
        self._acts[number] = act

    def deliver(self, number: Signals) -> None:
        """Pass a signal to the end; before the end waits for it, it is lost."""
        if act := self._acts.get(number):
            act()
