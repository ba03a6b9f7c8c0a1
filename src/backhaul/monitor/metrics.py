"""The answer to a scrape.

Only programs with ``metrics = ["prometheus"]`` load this module: its library takes 5 MB. They load it at their start,
for loading takes longer than a scrape may.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from backhaul.system.expiry import Expiry
from backhaul.threads import in_thread

from . import exposition, prometheus
from .http_messages import Request, Response
from .http_packing import pieces_for
from .sources import Sources
from .status import Status


class Metrics:
    """Answers scrapes with the numbers of ``sources``, those of ``usage`` and the ends of ``certificates`` (files)."""

    def __init__(
        self, sources: Sources, usage: Callable[[Status], dict[int, int]], certificates: Iterable[str]
    ) -> None:
        self._sources = sources
        self._usage = usage
        self._expiries = {file: Expiry(file) for file in certificates}

    async def respond(self, request: Request) -> Response:
        """Answer one request, in slices between which the loop serves users."""
        form, pieces = exposition.form_for(request.accept), pieces_for(request.encodings)
        for piece in prometheus.slices(form, await self._figures()):
            pieces.add(piece)
            await asyncio.sleep(0)
        return Response(b"", form.content_type, headers=pieces.headers, more=pieces.end())

    async def _figures(self) -> prometheus.Figures:
        certificates: dict[str, float] = {}
        with contextlib.suppress(OSError):  # there is no thread now
            certificates = await in_thread(self._ends) if self._expiries else {}
        status = await self._sources.survey()
        return prometheus.Figures(status, self._usage(status), self._sources.times(), certificates)

    def _ends(self) -> dict[str, float]:
        """Return the ends of the certificates that can be read, by file; may wait for the disk."""
        found = {file: expiry.read() for file, expiry in self._expiries.items()}
        return {file: end for file, end in found.items() if end is not None}
