"""The looks of a relay at connections of which one direction has ended."""

from collections.abc import AsyncIterator

import pytest
from tests.support.net import until

from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.relay.patience import Patience


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    poller = make_poller()
    relay = Relay(poller, patience=Patience(sweep=0.01))
    yield relay
    relay.close()
    poller.close()


class Twin:
    """One of two users of a session, which ends with its first user who is reset."""

    moved = undelivered = 0

    def __init__(self, relay: Relay, session: list["Twin"]) -> None:
        self._relay = relay
        self._session = session
        session.append(self)
        relay.watch(self)

    def silent_for(self, seconds: float) -> None:
        """End both."""
        del seconds
        while self._session:
            self._relay.forget(self._session.pop())

    def close(self, *, reset: bool = False) -> None:
        """Fail: both have ended."""
        raise AssertionError(reset)


async def test_users_who_end_together_are_no_fault(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    session = list[Twin]()
    for _ in range(2):
        Twin(relay, session)
    await until(lambda: not relay.watched)
    assert not session
    assert not caplog.records
