"""The poller for sockets of a test."""

from collections.abc import AsyncIterator

import pytest

from backhaul.net.poller import Poller
from backhaul.net.pollers import make_poller


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    """Provide the kind that programs use here."""
    poller = make_poller()
    yield poller
    poller.close()
