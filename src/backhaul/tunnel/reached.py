"""The servers that a client has reached, of which two entries of its configuration may be the same one."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator


class Reached:
    """Counts the control channels of this client to each process of a server.

    A server keeps the last control channel of a client. Two tunnels to one server, such as to both addresses of a name,
    would replace each other for ever.
    """

    def __init__(self) -> None:
        self._channels: Counter[bytes] = Counter()
        self._lost = asyncio.Event()

    @contextlib.contextmanager
    def by_channel(self, server: bytes) -> Iterator[None]:
        """Count a control channel to ``server``, a random number of its process, during the block."""
        self._channels[server] += 1
        try:
            yield
        finally:
            self._channels[server] -= 1
            self._channels += Counter()  # drop those without a channel
            self._lost.set()

    async def lost(self, server: bytes) -> None:
        """Wait until no control channel leads to ``server``."""
        while self._channels[server]:
            self._lost.clear()
            await self._lost.wait()
