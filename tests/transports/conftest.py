"""Carriers of both ends, on a relay of their own."""

from collections.abc import AsyncIterator

import pytest
from tests.support.sealed_carriers import Stage
from tests.support.stage import running_relay
from tests.support.tunnel import Net

from backhaul.relay.engine import Relay


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with running_relay() as relay:
        yield relay


@pytest.fixture
async def stage(net: Net, relay: Relay) -> Stage:
    return Stage(net, relay)
