"""Users who send something into the tunnel and get nothing back."""

import pytest
from tests.support.net import Peer, until
from tests.support.public import Public


async def unanswered(public: Public) -> tuple[Peer, Peer]:
    """Return a user whose request the client has, and his carrier."""
    carrier = await public.tunnel_connection()
    user = await public.user()
    await public.addressed(carrier)
    await user.send(b"request")
    assert await carrier.receive(7) == b"request"
    return user, carrier


async def gone(public: Public) -> None:
    """Wait until no user is there any more."""
    (port,) = public.server.tunnel.ports.open.values()
    await until(lambda: not port.open)


@pytest.mark.timings(answer=0)
async def test_who_gives_up_is_counted_and_many_of_them_are_worth_a_warning(
    public: Public, caplog: pytest.LogCaptureFixture
) -> None:
    await public.client()
    for count in range(1, 6):
        assert "got no answer" not in caplog.text
        user, _ = await unanswered(public)
        user.reset()
        await gone(public)
        assert public.server.tunnel.unanswered == count
    assert "5 of the last 5 users got no answer through the tunnel" in caplog.text
    assert "mss = 1300" in caplog.text


@pytest.mark.timings(answer=1000)
async def test_who_changes_his_mind_is_not_counted(public: Public) -> None:
    await public.client()
    user, _ = await unanswered(public)
    user.reset()
    await gone(public)
    assert public.server.tunnel.unanswered == 0


@pytest.mark.timings(answer=0)
async def test_who_is_answered_is_not_counted(public: Public) -> None:
    await public.client()
    user, carrier = await unanswered(public)
    await carrier.send(b"answer")
    assert await user.receive(6) == b"answer"
    user.reset()
    await gone(public)
    assert public.server.tunnel.unanswered == 0


@pytest.mark.timings(answer=0)
async def test_a_target_that_ends_without_a_word_is_heard(public: Public) -> None:
    await public.client()
    user, carrier = await unanswered(public)
    carrier.close()
    assert await user.receive_all() == b""
    await gone(public)
    assert public.server.tunnel.unanswered == 0
