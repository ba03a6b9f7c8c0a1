"""A tunnel between this program and the Go peer when an end leaves, returns, or is refused."""

import pytest
from tests.support.go_peer import STREAMS, Case, Mixed, cases
from tests.support.net import HOST, echo, until
from tests.support.tunnel import IN_DOUBT, TOKEN

from backhaul.client import Client
from backhaul.tunnel.timings import Timings

# The control channel does not depend on the version of smux, nor does the pool.
CONTROL = cases((*STREAMS, "udp"), versions=(1,))
# Nor does it depend on TLS, under which the smallest one is tried: there the next connection takes longest.
POOLS = [
    (case, mux_con, pool)
    for case in cases(STREAMS, versions=(1,))
    for mux_con in ((1, 3) if case.muxed else (1,))
    for pool in (1, 3)
    if (mux_con, pool) == (1, 1) or not case.transport.startswith("wss")
]


def ours(end: str, transports: tuple[str, ...] = STREAMS) -> list[Case]:
    """Return the cases in which this program is the server, or the client."""
    return [case for case in cases(transports, versions=(1,)) if case.ours == end]


async def echo_soon(mixed: Mixed, text: bytes) -> None:
    """Echo ``text`` for one of several users: some may meet tunnel connections that have just died."""

    async def served() -> bool:
        user = await mixed.user()
        try:
            await echo(user, text)
        except (ConnectionError, EOFError):
            return False
        finally:
            user.close()
        return True

    while not await served():
        pass  # each turn is another user, who waits for the outcome


@pytest.mark.parametrize("case", cases(STREAMS, versions=(1,)), ids=str)
class TestComingBack:
    async def test_the_peer_is_killed_and_returns(self, mixed: Mixed) -> None:
        await mixed.start(await mixed.net.echo())
        user = await mixed.user()
        await echo(user, b"before")
        mixed.peer.kill()
        await until(lambda: not mixed.ours.tunnel.connected)
        await user.closed()
        await mixed.start_peer()
        await mixed.connected(2)
        await echo_soon(mixed, b"after")

    async def test_the_peer_stops_in_order_and_returns(self, mixed: Mixed, caplog: pytest.LogCaptureFixture) -> None:
        await mixed.start(await mixed.net.echo())
        mixed.peer.ask_to_stop()
        await until(lambda: not mixed.ours.tunnel.connected)
        assert "control channel lost: the " in caplog.text
        assert "closed it to stop or to reload" in caplog.text
        await mixed.start_peer()
        await mixed.connected(2)
        await echo_soon(mixed, b"after")

    async def test_this_program_stops_in_order_and_returns(self, mixed: Mixed) -> None:
        mixed.net.patience = {"hold_back_answered": 0.05, "sweep": 0.05}
        await mixed.start(await mixed.net.echo())
        user = await mixed.user()
        await echo(user, b"before")
        user.close()
        await until(lambda: not mixed.ours.relay.live)
        await mixed.net.stop(mixed.ours)
        await mixed.peer.logs("says goodbye")
        await mixed.start_ours()
        await mixed.connected(2)
        await echo_soon(mixed, b"after")

    async def test_users_in_between_are_closed_or_served(self, mixed: Mixed) -> None:
        await mixed.start(await mixed.net.echo())
        users = [await mixed.user() for _ in range(5)]
        for user in users:
            await echo(user, b"before")
        mixed.peer.kill()
        for user in users:
            await user.closed()
        await until(lambda: not mixed.ours.relay.live)
        await mixed.start_peer()
        await mixed.connected(2)
        await echo_soon(mixed, b"after")


@pytest.mark.parametrize("case", ours("client"), ids=str)
async def test_the_client_loses_its_control_channel(mixed: Mixed) -> None:
    """The Go server may treat the new handshake as a tunnel connection until it has read the end of the old one."""
    await mixed.start(await mixed.net.echo())
    assert isinstance(mixed.ours, Client)
    mixed.ours.tunnel.control_lost("as the test has it")
    await mixed.peer.logs("reset: control channel")
    await mixed.connected(2)
    await echo_soon(mixed, b"after")


@pytest.mark.parametrize("case", CONTROL, ids=str)
async def test_another_token(mixed: Mixed, caplog: pytest.LogCaptureFixture) -> None:
    """This program logs it without the token, keeps trying or waiting, and the peer survives."""
    mixed.prepare(await mixed.net.echo(), peer_token="qu1te-different")
    await mixed.start_peer()
    await mixed.start_ours()
    if mixed.case.ours == "server":
        await mixed.peer.logs("reset: ", 3)
        said = f"refused a connection from {HOST}: wrong token"
    else:
        await mixed.peer.logs("refused a ", 3)
        said = f"can't connect to {HOST}:{mixed.bind_port}: "
        assert "token" in caplog.text
    await until(lambda: said in caplog.text)
    assert not mixed.ours.tunnel.connected
    assert not [secret for secret in ("qu1te-different", TOKEN, "Traceback") if secret in caplog.text]


@pytest.mark.parametrize("case", ours("server", (*STREAMS, "udp")), ids=str)
async def test_unauthenticated_connections_do_not_fill_the_log(mixed: Mixed, caplog: pytest.LogCaptureFixture) -> None:
    mixed.prepare(await mixed.net.echo(), peer_token="qu1te-different")
    await mixed.start_peer()
    await mixed.start_ours()
    await until(lambda: "wrong token" in caplog.text)  # the first resets may be older than the server
    await mixed.peer.logs("reset: ", mixed.peer.count("reset: ") + 4)
    assert caplog.text.count("wrong token") == 1


@pytest.mark.parametrize("case", CONTROL, ids=str)
async def test_heartbeats(mixed: Mixed) -> None:
    """Many of them, also on idle tunnel connections, get exactly the answers that v0.7.2 expects."""
    target = await mixed.net.echo()
    await mixed.start(target, heartbeat=0.05)
    answered = mixed.case.ours == "client" and mixed.case.transport.startswith("ws")
    await mixed.peer.logs("heartbeat answered" if answered else "heartbeat", 5)
    if mixed.case.transport in {"ws", "wss", "udp"} and mixed.case.ours == "server":
        await mixed.peer.logs("ping", 3)
    assert mixed.ours.tunnel.connected
    assert mixed.peer.count("control channel open") == 1
    if mixed.case.transport != "udp":
        await echo(await mixed.user(), b"still there?")


@pytest.mark.parametrize("case", ours("client", ("ws", "wss", "wsmux", "wssmux")), ids=str)
async def test_slow_heartbeats(doubts: list[float], mixed: Mixed) -> None:
    """A WebSocket server answers pings by itself, so the client does not give up a server that is only slow."""
    mixed.net.timings = IN_DOUBT
    await mixed.start(await mixed.net.echo(), heartbeat=3600)
    await until(lambda: len(doubts) >= 2)
    assert mixed.peer.count("control channel open") == 1
    await echo(await mixed.user(), b"still there?")


@pytest.mark.parametrize("case", ours("server"), ids=str)
async def test_a_user_waits_for_the_peer(mixed: Mixed) -> None:
    mixed.prepare(await mixed.net.echo())
    await mixed.start_ours()
    user = await mixed.user()
    await user.send(b"early")
    await mixed.start_peer()
    assert await user.receive(5) == b"early"


@pytest.mark.parametrize("case", ours("server"), ids=str)
async def test_a_user_does_not_wait_without_limit(mixed: Mixed) -> None:
    mixed.prepare(await mixed.net.echo())
    await mixed.start_ours(Timings(user_patience=0.05))
    assert not await (await mixed.user()).closed()
    await mixed.start_peer()
    await mixed.connected()
    await echo_soon(mixed, b"next")


@pytest.mark.parametrize(("case", "mux_con", "pool"), POOLS, ids=str)
async def test_the_pool_never_runs_dry(mixed: Mixed, mux_con: int, pool: int) -> None:
    await mixed.start(await mixed.net.echo(), pool=pool, mux_con=mux_con)
    kept = []
    for number in range(40):
        user = await mixed.user()
        await echo(user, number.to_bytes(2))
        if number % 3:
            user.close()
        else:
            kept.append(user)
    for user in kept:
        await echo(user, b"kept")


@pytest.mark.parametrize("case", ours("server", ("tcp", "tcpmux", "wsmux")), ids=str)
async def test_a_client_that_replaces_itself(mixed: Mixed, caplog: pytest.LogCaptureFixture) -> None:
    """A client returns while the server still considers the old one connected, as after a change of address."""
    await mixed.start(await mixed.net.echo(), pool=2)
    await mixed.peer.logs("tunnel connection open", 2)
    mixed.peer.freeze()
    await mixed.start_peer()
    await mixed.connected(2)
    assert "replaced the connected one" in caplog.text
    await echo_soon(mixed, b"after")
