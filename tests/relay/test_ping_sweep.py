"""The choice of connections that are pinged, and the end of the pings."""

import asyncio
import logging
from collections.abc import Callable

import pytest
from tests.support.net import until

from backhaul.net.log_throttle import LogThrottle
from backhaul.relay.pings import Pings

FAULTS = LogThrottle(logging.getLogger("backhaul"))


class Connection:
    """A connection that is silent, or moves bytes before each look."""

    def __init__(self, *, silent: bool, looked: Callable[[], None] = lambda: None) -> None:
        self.looks = 0
        self.pings = 0
        self._silent = silent
        self._looked = looked

    def ping_if_silent(self) -> None:
        """Count a ping unless bytes have moved."""
        self.looks += 1
        self.pings += self._silent
        self._looked()


async def test_more_connections_than_fit_into_one_turn_are_all_pinged() -> None:
    pings = Pings(lambda: 0.01, FAULTS)
    connections = [Connection(silent=True) for _ in range(1000)]
    for connection in connections:
        pings.add(connection)
    await until(lambda: all(connection.pings >= 2 for connection in connections))
    pings.close()


async def test_a_removed_connection_is_not_pinged_even_during_a_look() -> None:
    pings = Pings(lambda: 0.01, FAULTS)

    def leave() -> None:
        for connection in connections:
            pings.discard(connection)

    connections = [Connection(silent=True, looked=leave) for _ in range(1000)]
    for connection in connections:
        pings.add(connection)
    await until(lambda: any(connection.looks for connection in connections))
    last = Connection(silent=False)
    pings.add(last)
    await until(lambda: last.looks >= 2)
    assert sum(connection.looks for connection in connections) == 1
    pings.close()


async def test_a_failing_connection_does_not_affect_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("a mistake")

    pings = Pings(lambda: 0.01, FAULTS)
    others = [Connection(silent=True) for _ in range(2)]
    for connection in (others[0], Connection(silent=True, looked=fail), others[1]):
        pings.add(connection)
    await until(lambda: all(connection.looks >= 3 for connection in others))
    pings.add(late := Connection(silent=True))
    await until(lambda: late.looks)
    assert "a mistake" in caplog.text
    pings.close()


async def test_without_connections_no_timer_runs() -> None:
    asked = 0

    def longest() -> float:
        nonlocal asked
        asked += 1
        return 0.01

    pings, connection = Pings(longest, FAULTS), Connection(silent=True)
    pings.add(connection)
    await until(lambda: connection.looks)
    pings.discard(connection)
    asked = 0
    # a timer set before is due by now, and sets no other
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, done.set)
    await done.wait()
    assert asked == 0
    pings.add(connection)
    assert asked == 1
    pings.close()
