"""The health of targets, judged by their users."""

from tests.support.net import echo, free_port, until
from tests.support.tunnel import Net, turned_away

from backhaul.state import HealthState
from backhaul.tunnel.target_health import TargetHealth


async def test_both_ends_know_whether_a_target_answers(net: Net) -> None:
    closed = free_port()
    tunnel = await net.tunnel(closed)

    def health() -> tuple[HealthState, ...]:
        return tunnel.server.state().ports[0].health, tunnel.client.state().targets[0].health

    await turned_away(tunnel)
    await until(lambda: tunnel.server.state().ports[0].health.failed)
    assert [one.failure for one in health()] == ["connection reset before an answer", "connection refused"]
    assert not any(one.reached for one in health())
    await net.echo(port=closed)
    user = await tunnel.user()
    await echo(user, b"hello")
    user.close()
    await until(lambda: all(one.reached >= one.failed for one in health()))


def test_success_and_failure_are_kept_with_their_times() -> None:
    times = iter((5.0, 7.0))
    health = TargetHealth(times.__next__)
    health.succeed()
    health.fail("timed out")
    assert health.state() == HealthState(5.0, 7.0, "timed out")
