"""The parts of the data plane that its users need. Each protocol lists those of one kind of user."""

from asyncio import AbstractEventLoop
from typing import Protocol

from .patience import Patience


class Timekeeper(Protocol):
    """The clock, and the limits of time that a reload replaces."""

    loop: AbstractEventLoop
    patience: Patience
