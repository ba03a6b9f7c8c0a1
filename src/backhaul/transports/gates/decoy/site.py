"""The websites that a decoy can show."""

from typing import Protocol

from .exchange import Exchange
from .nginx import page


class Site(Protocol):
    """A website."""

    async def serve(self, exchange: Exchange) -> bool:
        """Answer a request that nginx would hand to a location; return whether the connection stays open."""

    def close(self) -> None:
        """Release the resources of the site."""


class EmptySite:
    """nginx with ``location / { return 404; }``."""

    async def serve(self, exchange: Exchange) -> bool:
        """Answer with the 404 page."""
        return await exchange.reply(page(404, exchange.head))

    def close(self) -> None:
        """Do nothing."""
