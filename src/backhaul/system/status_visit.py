"""One connection to the status socket: a line with the request, then the answer in slices."""

import asyncio
import contextlib
import logging
from asyncio import StreamReader, StreamWriter, Task
from collections.abc import Callable, Iterator
from typing import Final

from backhaul.errors import UNREADABLE

Respond = Callable[[str], Iterator[bytes]]
"""Returns the slices of the answer to a request; each is made when it is asked for, in the event loop."""

REQUEST_MAX: Final = 1024
"""Bytes of a request."""
SILENCE: Final = 0.1
"""Seconds: readers of earlier versions send nothing, and get the answer to an empty request."""
SLOW: Final = 30.0
"""Seconds for a whole answer to be read."""

log = logging.getLogger("backhaul")


class Visits:
    """Answers every connection with ``respond``, a slice in each turn of the event loop."""

    def __init__(self, respond: Respond, silence: float) -> None:
        self._respond = respond
        self._silence = silence
        self._tasks: set[Task[None]] = set()

    def welcome(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer a new connection."""
        visit = asyncio.create_task(self._visit(reader, writer))
        self._tasks.add(visit)
        visit.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """End all connections at once."""
        for visit in self._tasks:
            visit.cancel()

    async def _visit(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            request = await self._request(reader)
            async with asyncio.timeout(SLOW):
                await self._answer(request, writer)
        except OSError:
            writer.transport.abort()  # the reader has left or is too slow (TimeoutError is an OSError)
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        except Exception:
            writer.transport.abort()
            log.exception("internal error in an answer of the status socket; the tunnel goes on")

    async def _request(self, reader: StreamReader) -> str:
        """Return the request; empty if there is none, or one that is too long."""
        with contextlib.suppress(TimeoutError, ValueError, *UNREADABLE):
            async with asyncio.timeout(self._silence):
                return (await reader.readline()).decode()
        return ""

    async def _answer(self, request: str, writer: StreamWriter) -> None:
        for piece in self._respond(request):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()
