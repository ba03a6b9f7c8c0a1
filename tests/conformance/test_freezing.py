"""Users of sessions whose connections freeze after a few kilobytes, as some firewalls let them."""

from asyncio import gather

import pytest
from tests.support.middlebox import Line
from tests.support.net import until
from tests.support.torn import BULK, Torn, exchange, sessions
from tests.support.tunnel import Net

PART = BULK[:100_000]  # ten times as much as a connection carries
FREEZES = Line(freezes=16_000)  # as seen in Russia since 2025: https://github.com/net4people/bbs/issues/490
SILENT = {"acknowledge": 3600.0, "unacknowledged": 0.05}
NOTHING_PASSES = "tunnel connections begin, but nothing passes"
IMPATIENT = {"unacknowledged": 0.1, "look": 0.02, "acknowledge": 0.01}

every_mux = pytest.mark.parametrize("any_net", ["tcpmux", "wsmux", "wssmux"], indirect=True)
one_mux = pytest.mark.parametrize("any_net", ["tcpmux"], indirect=True)
every_form = pytest.mark.parametrize("form", ["", "encryption = true"], ids=["clear", "sealed"])


@every_mux
@every_form
async def test_bulk_passes_piece_by_piece(any_net: Net, form: str) -> None:
    any_net.patience = IMPATIENT
    torn = await Torn.start(any_net, client=form, pool=1, line=FREEZES)
    user = await any_net.dial(torn.port)
    assert await exchange(user, PART) == PART


@every_mux
async def test_connections_that_wait_for_a_need_end_with_the_server(any_net: Net) -> None:
    any_net.patience = IMPATIENT | {"ahead": 3600.0}
    torn = await Torn.start(any_net, pool=1, line=FREEZES)
    user = await any_net.dial(torn.port)
    assert await exchange(user, PART) == PART
    user.close()
    await until(lambda: not len(sessions(torn.client)[0]))
    await any_net.stop(torn.server)
    await until(lambda: all(path.left for path in torn.middlebox.paths))


@every_mux
async def test_a_line_that_loses_all_connections_at_once_does_not_freeze_them(any_net: Net) -> None:
    any_net.patience = IMPATIENT
    torn = await Torn.start(any_net, pool=4)
    users = [await any_net.dial(torn.port) for _ in range(8)]
    assert await gather(*(exchange(user, PART[:8000]) for user in users)) == [PART[:8000]] * 8
    for path in torn.middlebox.paths[1:]:
        path.freeze()
    assert await gather(*(exchange(user, PART) for user in users)) == [PART] * 8
    assert torn.resumed.resumes >= 4
    assert torn.resumed.rotations == 0


@one_mux
async def test_a_client_is_not_connected_between_connections_on_which_nothing_passes(
    any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    any_net.patience = SILENT
    torn = await Torn.start(any_net, pool=1)
    await torn.user()
    await until(lambda: NOTHING_PASSES in caplog.text)
    assert not torn.client.tunnel.connected
    torn.middlebox.hold()
    await torn.cut()
    await until(lambda: sessions(torn.client)[0].parked)
    assert not torn.client.tunnel.connected
