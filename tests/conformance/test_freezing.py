"""Users of sessions whose connections freeze after a few kilobytes, as some firewalls let them."""

import pytest
from tests.support.middlebox import Line
from tests.support.torn import BULK, Torn, exchange
from tests.support.tunnel import Net

PART = BULK[:100_000]  # ten times as much as a connection carries
FREEZES = Line(freezes=16_000)  # as seen in Russia since 2025: https://github.com/net4people/bbs/issues/490
IMPATIENT = {"unacknowledged": 0.1, "look": 0.02, "acknowledge": 0.01}

every_mux = pytest.mark.parametrize("any_net", ["tcpmux", "wsmux", "wssmux"], indirect=True)
every_form = pytest.mark.parametrize("form", ["", "encryption = true"], ids=["clear", "sealed"])


@every_mux
@every_form
async def test_bulk_passes_piece_by_piece(any_net: Net, form: str) -> None:
    any_net.patience = IMPATIENT
    torn = await Torn.start(any_net, client=form, pool=1, line=FREEZES)
    user = await any_net.dial(torn.port)
    assert await exchange(user, PART) == PART
