"""Users who outlive the connections of their tunnel."""

import asyncio
import math

import pytest
from tests.support.middlebox import Line
from tests.support.mux import links_of
from tests.support.net import PATIENCE, Peer, echo, until, until_reset
from tests.support.torn import BULK, Torn, exchange, progress, sessions
from tests.support.tunnel import Net

from backhaul import assembly, server
from backhaul.wire.smux import Settings

MUX = ["tcpmux", "wsmux", "wssmux"]
NARROW = "mux_streambuffer = 262144\nmux_recievebuffer = 262144"  # three users who do not read stop a session
FEW = 8
IMPATIENT = Settings(keepalive_interval=0.05, keepalive_timeout=0.3)
FORMS = {"clear": "", "sealed": "encryption = true"}

every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
every_mux = pytest.mark.parametrize("any_net", MUX, indirect=True)
one_mux = pytest.mark.parametrize("any_net", ["wsmux"], indirect=True)


@every_mux
@every_form
async def test_bulk_survives_resets_of_all_tunnel_connections(any_net: Net, form: str) -> None:
    torn = await Torn.start(any_net, client=form)
    users = [await torn.user() for _ in range(3)]
    exchanges = [asyncio.create_task(exchange(user)) for user in users]
    for cuts in range(1, 5):
        moved = progress(torn.client)
        await until(lambda: moved() or all(each.done() for each in exchanges))  # noqa: B023 - within this round
        await torn.cut()
        await until(lambda: torn.resumed.resumes >= 2 * cuts and not torn.resumed.parked)  # noqa: B023
    assert all(answer == BULK for answer in await asyncio.gather(*exchanges))
    await until(lambda: not torn.resumed.memory and not torn.server.state().relay.resumption.memory)


@every_mux
@every_form
async def test_a_full_spool_does_not_wait_for_a_late_acknowledgement(any_net: Net, form: str) -> None:
    any_net.patience = {"acknowledge": 3600.0, "unacknowledged": 3600.0}
    lines = f"resume_memory = 1\n{form}"
    torn = await Torn.start(any_net, "resume_memory = 1", lines, pool=1)
    user = await torn.user()
    sending = asyncio.create_task(user.send(BULK))
    answer, peak = b"", 0
    while len(answer) < len(BULK) and (piece := await user.receive_some()):
        answer += piece
        peak = max(peak, torn.resumed.memory, torn.server.state().relay.resumption.memory)
    await sending
    assert answer == BULK
    assert 1 << 19 < peak < 3 << 19


@one_mux
async def test_connections_that_do_not_last_are_named(any_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    torn = await Torn.start(any_net, pool=1)
    user = await torn.user()
    for cuts in range(1, 6):
        assert "tunnel connections do not last" not in caplog.text
        await torn.cut()
        await until(lambda: torn.resumed.resumes == cuts)  # noqa: B023 - within this round
        await echo(user, b"hello")
    assert "tunnel connections do not last" in caplog.text


@one_mux
async def test_connections_on_which_nothing_passes_are_named(any_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    any_net.patience = {"acknowledge": 3600.0, "unacknowledged": 0.05}
    torn = await Torn.start(any_net, pool=1)
    user = await torn.user()
    await until(lambda: "tunnel connections begin, but nothing passes" in caplog.text)
    assert not torn.client.tunnel.connected
    assert "nothing passes on them" in torn.client.tunnel.problem
    await echo(user, b"hello")
    assert torn.client.tunnel.connected


@every_mux
async def test_users_survive_with_another_control_channel(any_net: Net) -> None:
    torn = await Torn.start(any_net, client="encryption = true")
    users = [await torn.user() for _ in range(4)]
    exchanges = [asyncio.create_task(exchange(user)) for user in users]
    await until(progress(torn.client))
    await torn.cut(control=True)
    assert all(answer == BULK for answer in await asyncio.gather(*exchanges))
    assert torn.client.tunnel.opened == 2
    assert torn.resumed.resumes >= 2
    await torn.user()
    await until(lambda: len(links_of(torn.server)) == len(links_of(torn.client)) == 2)


@every_mux
@pytest.mark.parametrize("control", [False, True], ids=["session", "session and control channel"])
async def test_a_user_of_whom_the_client_never_learned_continues(any_net: Net, *, control: bool) -> None:
    torn = await Torn.start(any_net, pool=1)
    for path in torn.middlebox.paths[1:]:
        path.swallow()
    user = await any_net.dial(torn.port)
    await until(lambda: any(len(link) for link in links_of(torn.server)))
    await torn.cut(control=control)
    await echo(user, b"hello")


@every_mux
async def test_a_user_whose_client_closes_idle_sessions_continues(any_net: Net) -> None:
    any_net.timings = {"leave": 0.0}
    any_net.patience = {"unacknowledged": 3600.0}
    torn = await Torn.start(any_net, pool=1)
    for path in torn.middlebox.paths[1:]:
        path.swallow()
    user = await any_net.dial(torn.port)
    await until(lambda: any(len(link) for link in links_of(torn.server)))
    control, *torn.middlebox.paths = torn.middlebox.paths
    await control.cut()
    await echo(user, b"hello")


@one_mux
async def test_users_survive_when_the_address_of_the_client_changes(any_net: Net) -> None:
    torn = await Torn.start(any_net)
    user = await torn.user()
    torn.middlebox.source = "127.0.0.2"
    await torn.cut(control=True)
    await echo(user, b"from elsewhere")
    assert torn.server.session().peer == "127.0.0.2"


@one_mux
async def test_a_session_that_was_resumed_takes_users_and_can_be_resumed_again(any_net: Net) -> None:
    torn = await Torn.start(any_net, pool=1)
    first = await torn.user()
    for resumes in (1, 2, 3):
        await torn.cut(control=resumes == 2)
        await until(lambda: torn.resumed.resumes == resumes)  # noqa: B023 - within this round
        await echo(first, b"again")
        await echo(await torn.user(), b"a new one")
        assert len(links_of(torn.server)) == 1


@one_mux
async def test_a_user_may_wait_in_the_only_session_for_its_connection(any_net: Net) -> None:
    any_net.patience = {"request": 0.05}
    torn = await Torn.start(any_net, pool=1)
    first = await torn.user()
    (session,) = sessions(torn.server)
    torn.middlebox.hold()
    await torn.cut()
    await until(lambda: session.parked)
    second = await any_net.dial(torn.port)
    await second.send(b"hello")
    await until(lambda: len(session) > 1)
    torn.middlebox.release()
    assert await second.receive(5) == b"hello"
    await echo(first, b"again")
    assert 0 < torn.resumed.seconds < PATIENCE


@one_mux
async def test_a_session_that_was_resumed_is_kept_alive(any_net: Net) -> None:
    torn = await Torn.start(any_net, client="keepalive_period = 1", pool=1)
    user = await torn.user()
    await torn.cut()
    await echo(user, b"again")
    for _ in range(3):
        await until(progress(torn.server))


@one_mux
async def test_the_beginning_of_a_frame_is_not_received(any_net: Net) -> None:
    """The other end repeats it on the next connection."""
    torn = await Torn.start(any_net, pool=1)
    (session,) = sessions(torn.client)
    before = session.received
    session.session.feed(memoryview(bytes([2, 3, 0])))
    assert session.received == before


@one_mux
@pytest.mark.parametrize("end", ["server", "client"])
async def test_a_session_ends_whose_other_end_has_received_more_than_was_sent(any_net: Net, end: str) -> None:
    torn = await Torn.start(any_net, pool=1)
    user = await torn.user()
    (session,) = sessions(getattr(torn, end))
    session.session.received += 1000
    await torn.cut()
    assert not await user.closed()
    await until(lambda: session.closed)
    await echo(await torn.user(), b"on another one")
    assert not torn.server.relay.resumption.parked
    assert not torn.client.relay.resumption.parked


@one_mux
async def test_users_wait_no_longer_than_they_should(any_net: Net) -> None:
    torn = await Torn.start(any_net, server="resume_timeout = 1")
    user = await torn.user()
    for link in sessions(torn.client):
        link.kept = False
    await torn.cut()
    await until(lambda: torn.server.state().relay.resumption.parked)
    await until_reset(user)
    assert not torn.server.relay.resumption.links or not torn.server.state().relay.resumption.parked


@one_mux
@pytest.mark.parametrize("lines", [("resume_timeout = 0", ""), ("", "resume_timeout = 0")], ids=["server", "client"])
async def test_an_end_can_do_without(any_net: Net, lines: tuple[str, str]) -> None:
    torn = await Torn.start(any_net, *lines)
    user = await torn.user()
    await torn.cut()
    await until_reset(user)
    assert not torn.resumed.memory


@every_mux
async def test_a_session_whose_connection_was_silent_for_too_long_continues(
    any_net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (assembly, server):
        monkeypatch.setattr(module, "mux_settings", lambda _config: IMPATIENT)
    any_net.patience = {"unacknowledged": 60.0}  # only the silence counts
    torn = await Torn.start(any_net, pool=1)
    user = await torn.user()
    for path in torn.middlebox.paths[1:]:
        path.swallow()
    await until(lambda: torn.resumed.resumes)
    await echo(user, b"hello")


@every_mux
async def test_a_silent_connection_is_replaced(any_net: Net) -> None:
    any_net.patience = {"unacknowledged": 0.3, "look": 0.05}
    torn = await Torn.start(any_net, pool=1)
    user = await torn.user()
    for path in torn.middlebox.paths[1:]:
        path.swallow()
    await user.send(b"into the void")
    assert await user.receive(13) == b"into the void"
    assert torn.resumed.resumes == 1


async def three_users(net: Net) -> tuple[Torn, list[tuple[Peer, Peer]]]:
    """Start both ends with a session; return them, and users and their targets, who can stop it."""
    listener = net.listen()
    torn = await Torn.start(net, NARROW, NARROW, pool=1, target=listener.port)
    return torn, [(await net.dial(torn.port), await listener.accept()) for _ in range(3)]


@every_mux
async def test_a_connection_that_the_server_does_not_read_is_kept(any_net: Net) -> None:
    any_net.patience = {"unacknowledged": 1.5, "look": 0.05, "sign": 0.05}
    torn, pairs = await three_users(any_net)
    sending = [asyncio.create_task(target.send(5 * BULK)) for _, target in pairs]
    (server,), (client,) = sessions(torn.server), sessions(torn.client)
    await until(lambda: server.session.paused and client.unacknowledged)
    signs = client.signs
    await until(lambda: torn.resumed.resumes or client.signs > signs + 40)  # two seconds
    assert not torn.resumed.resumes
    for answer in await asyncio.gather(*(user.receive(5 * len(BULK)) for user, _ in pairs)):
        assert answer == 5 * BULK
    await asyncio.gather(*sending)
    assert not torn.resumed.resumes


@every_mux
@every_form
async def test_a_server_with_a_full_line_acknowledges_what_it_receives(any_net: Net, form: str) -> None:
    any_net.patience = {"unacknowledged": 3600.0}
    listener = any_net.listen()
    lines, line = f"{form}\nmux_con = {FEW}", Line(rate=1_000_000)
    torn = await Torn.start(any_net, lines, form, pool=1, target=listener.port, line=line)
    (server,), (client,) = sessions(torn.server), sessions(torn.client)  # users who fill them cause others
    pairs = [(await any_net.dial(torn.port), await listener.accept()) for _ in range(FEW)]
    sending = [asyncio.create_task(user.send(BULK)) for user, _ in pairs]
    receiving = [asyncio.create_task(target.receive(len(BULK))) for _, target in pairs]
    await until(lambda: server.sender.blocked and client.received > len(BULK) // 4)
    signs = client.signs
    await pairs[0][1].send(b"answer")
    await until(lambda: client.signs > signs)
    for each in (*sending, *receiving):
        each.cancel()


@one_mux
async def test_a_connection_that_the_client_does_not_read_is_not_judged(any_net: Net) -> None:
    any_net.patience = {"unacknowledged": 0.3, "look": 0.05, "sign": 0.1}
    torn, pairs = await three_users(any_net)
    (client,) = sessions(torn.client)
    sending = [asyncio.create_task(user.send(5 * BULK)) for user, _ in pairs]
    await until(lambda: client.session.paused)
    await pairs[0][1].send(b"an acknowledgement of this is not read")
    await until(lambda: client.unacknowledged)
    silent, user, _ = await Torn.with_user(any_net)
    for path in silent.middlebox.paths[1:]:
        path.swallow()
    await user.send(b"into the void")
    await until(lambda: silent.resumed.resumes)
    assert not torn.resumed.resumes
    for task in sending:
        task.cancel()


@one_mux
async def test_a_silent_connection_is_replaced_although_the_client_has_nothing_to_send(any_net: Net) -> None:
    any_net.patience = {"unacknowledged": 0.3, "look": 0.05}
    torn, user, target = await Torn.with_user(any_net)
    await target.send(b"hello")
    assert await user.receive(5) == b"hello"
    for path in torn.middlebox.paths[1:]:
        path.swallow()
    await user.send(b"upload")
    assert await target.receive(6) == b"upload"
    assert torn.resumed.resumes == 1


@every_mux
async def test_a_control_channel_that_only_the_client_believes_in_is_replaced(any_net: Net) -> None:
    any_net.patience = {"unacknowledged": 0.3, "look": 0.05}
    any_net.timings = {"suspicion": 0.1}
    torn = await Torn.start(any_net, pool=1)
    user = await torn.user()
    for path in torn.middlebox.paths:
        await path.forget()
    await until(lambda: not torn.server.state().session.connected)
    await echo(user, b"into the void")
    assert torn.client.tunnel.opened == 2


@one_mux
async def test_users_do_not_wait_for_the_long_pauses_of_a_client_whose_server_is_away(any_net: Net) -> None:
    any_net.timings = {"urgent": 0.05}
    torn = await Torn.start(any_net, client="retry_interval = 3600")
    user = await torn.user()
    torn.middlebox.most = 0
    await torn.cut(control=True)
    await until(lambda: torn.client.tunnel.standing.failures >= 3)
    torn.middlebox.most = math.inf
    await echo(user, b"hello")


@every_mux
async def test_a_new_control_channel_ends_the_pauses_of_attempts_in_vain(any_net: Net) -> None:
    any_net.patience = {"again": (0.0, 3600.0)}
    torn = await Torn.start(any_net, pool=1)
    user = await torn.user()
    torn.middlebox.most = 1
    await torn.cut(control=True)
    await until(lambda: torn.middlebox.turned_away)
    torn.middlebox.most = math.inf
    await torn.cut(control=True)
    await echo(user, b"hello")


@every_mux
@every_form
async def test_connections_are_replaced_while_bytes_move(any_net: Net, form: str) -> None:
    any_net.patience = {"look": 0.02}
    torn = await Torn.start(any_net, client=f"mux_max_bytes = 1\n{form}", pool=1)
    user = await torn.user()
    while torn.resumed.rotations < 3:
        assert await exchange(user) == BULK


@one_mux
async def test_old_connections_are_replaced(any_net: Net) -> None:
    any_net.patience = {"look": 0.02}
    torn = await Torn.start(any_net, client="mux_max_age = 1", pool=2)
    user = await torn.user()
    await until(lambda: torn.resumed.rotations >= 2)
    await echo(user, b"hello")


@pytest.mark.parametrize("any_net", ["wsmux", "wssmux"], indirect=True)
async def test_a_session_whose_beginning_the_client_has_missed_keeps_no_user(any_net: Net) -> None:
    """The answer to the upgrade is lost after the server has given the session to a user."""
    torn = await Torn.start(any_net, "mux_con = 1", pool=1, line=Line(delay=0.2))
    first = await torn.user()
    second = await any_net.dial(torn.port)
    await until(lambda: len(sessions(torn.server)) == 2 and all(len(link) for link in sessions(torn.server)))
    assert len(sessions(torn.client)) == 1
    await torn.middlebox.paths.pop().cut()
    await until_reset(second)
    await echo(first, b"still here")
