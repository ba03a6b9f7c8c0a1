"""A client whose server is played by the test."""

from typing import Any

import pytest
from tests.support.behind import Behind
from tests.support.tunnel import LEGACY, Net


@pytest.fixture
async def behind(net: Net, request: pytest.FixtureRequest) -> Behind:
    """Start a client with a pool of two, for a server that is v0.7.2.

    Marks change it: ``config`` adds lines or other keys, ``timings`` its waits.
    """
    marker = request.node.get_closest_marker("config")
    lines: str = marker.args[0] if marker and marker.args else LEGACY
    unchecked: dict[str, Any] = marker.kwargs if marker else {}
    if paced := request.node.get_closest_marker("timings"):
        net.timings = paced.kwargs
    listener = net.listen()
    client = await net.client(listener.port, lines, **({"connection_pool": 2} | unchecked))
    return Behind(net, client, listener)
