"""The end of a session while the other end still uses it."""

import contextlib
import math

import pytest
from tests.support.mux import links_of
from tests.support.net import echo, fill, until, until_reset
from tests.support.torn import Torn
from tests.support.tunnel import Net

MUX = ["tcpmux", "wsmux", "wssmux"]
KEPT = {"resumed": "", "not resumed": "resume_timeout = 0"}

every_mux = pytest.mark.parametrize("any_net", MUX, indirect=True)


@every_mux
@pytest.mark.parametrize("lines", KEPT.values(), ids=KEPT)
async def test_a_user_who_comes_when_the_last_one_of_a_session_leaves(any_net: Net, lines: str) -> None:
    any_net.timings = {"leave": 3600.0}
    torn = await Torn.start(any_net, client=lines, pool=1)
    last = await torn.user()
    control, session = torn.middlebox.paths
    torn.middlebox.most = 0
    await control.hang_up()
    await until(lambda: not torn.client.session().connected)
    session.mute()
    last.close()
    await until(lambda: not any(len(link) for link in links_of(torn.client)))
    user = await any_net.dial(torn.port)
    await until(lambda: sum(len(link) for link in links_of(torn.server)) == 2)
    session.unmute()
    torn.middlebox.most = math.inf
    await echo(user, b"hello")


@every_mux
async def test_the_last_bytes_of_a_session_that_the_server_ends(any_net: Net) -> None:
    torn, user, target = await Torn.with_user(any_net)
    target.shut_write()
    assert not await user.receive_some()
    control, session = torn.middlebox.paths
    session.freeze()
    await user.send(b"the end")
    user.close()
    await until(lambda: not any(len(link) for link in links_of(torn.server)))
    await control.forget()
    await until(lambda: torn.client.tunnel.opened == 2)
    await session.cut()
    assert await target.receive_all() == b"the end"


@every_mux
@pytest.mark.parametrize("control", [False, True], ids=["session", "session and control channel"])
async def test_users_do_not_wait_for_a_session_that_the_client_has_ended_without_a_line(
    any_net: Net, *, control: bool
) -> None:
    any_net.patience = {"unacknowledged": 3600.0}
    torn, user, target = await Torn.with_user(any_net)
    torn.client.relay.budget.limit = 0
    torn.middlebox.paths[1].swallow()
    if control:
        torn.middlebox.most = 0
        await torn.middlebox.paths[0].cut()
        await until(lambda: not torn.client.session().connected)
    with contextlib.suppress(ConnectionError):
        await fill(target)
    await until(lambda: not links_of(torn.client))
    torn.middlebox.most = math.inf
    await until_reset(user)


@every_mux
async def test_targets_do_not_wait_for_a_session_that_the_server_has_ended_without_a_line(any_net: Net) -> None:
    any_net.patience = {"unacknowledged": 0.3, "look": 0.05}
    torn, user, target = await Torn.with_user(any_net)
    (link,) = links_of(torn.server)
    torn.middlebox.paths[1].swallow()
    link.end("for this test")
    await until_reset(user)
    await until_reset(target)
