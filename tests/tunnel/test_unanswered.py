"""Users who send bytes into the tunnel and receive none."""

import pytest
from tests.support.net import Peer, until
from tests.support.public import Public

from backhaul.relay.outcome import Ending
from backhaul.tunnel.outcomes import ENDINGS


async def unanswered(public: Public) -> tuple[Peer, Peer]:
    """Return a user whose request has reached the client, and the carrier."""
    carrier = await public.tunnel_connection()
    user = await public.user()
    await public.addressed(carrier)
    await user.send(b"request")
    assert await carrier.receive(7) == b"request"
    return user, carrier


async def gone(public: Public) -> None:
    """Wait until no user is connected."""
    (port,) = public.server.tunnel.ports.open.values()
    await until(lambda: not port.open)


@pytest.mark.timings(answer=0)
async def test_users_who_give_up_are_counted_and_many_cause_a_warning(
    public: Public, caplog: pytest.LogCaptureFixture
) -> None:
    await public.client()
    for count in range(1, 6):
        assert "got no answer" not in caplog.text
        user, _ = await unanswered(public)
        user.reset()
        await gone(public)
        assert public.server.tunnel.state().unanswered == count
    assert "5 of the last 5 users got no answer through the tunnel" in caplog.text
    assert "mss = 1300" in caplog.text


@pytest.mark.timings(answer=1000)
async def test_users_who_leave_early_are_not_counted(public: Public) -> None:
    await public.client()
    user, _ = await unanswered(public)
    user.reset()
    await gone(public)
    assert public.server.tunnel.state().unanswered == 0


@pytest.mark.timings(answer=0)
async def test_answered_users_are_not_counted(public: Public) -> None:
    await public.client()
    user, carrier = await unanswered(public)
    await carrier.send(b"answer")
    assert await user.receive(6) == b"answer"
    user.reset()
    await gone(public)
    assert public.server.tunnel.state().unanswered == 0


@pytest.mark.timings(answer=0)
async def test_an_end_without_bytes_is_an_answer(public: Public) -> None:
    await public.client()
    user, carrier = await unanswered(public)
    carrier.close()
    assert await user.receive_all() == b""
    await gone(public)
    assert public.server.tunnel.state().unanswered == 0


def test_every_ending_has_a_word_for_the_access_log() -> None:
    assert set(ENDINGS) == set(Ending)
