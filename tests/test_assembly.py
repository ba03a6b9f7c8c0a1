"""The objects that are made from a configuration."""

from tests.support.tunnel import server_config

from backhaul.assembly import change_relay, make_relay, mux_settings
from backhaul.net.pollers import make_poller
from backhaul.relay.patience import Patience


async def test_sessions_keep_no_more_than_the_program_may_hold_for_slow_peers() -> None:
    """Where memory is short, the default of 64 MiB and the backlogs together got the program killed."""
    small, boundless = (server_config("tcpmux", "127.0.0.1:1", [], f"resume_memory = {size}") for size in (1, 1 << 30))
    relay = make_relay(make_poller(), boundless, Patience())
    assert relay.resumption.memory == relay.budget.limit
    change_relay(relay, small)
    assert relay.resumption.memory == 1 << 20
    relay.close()


async def test_keepalive_period_bounds_the_silence_of_websockets_and_sessions() -> None:
    """A proxy with a time-out of 10 seconds needs pings more often than any default."""
    usual, often = (server_config("wsmux", "127.0.0.1:1", [], lines) for lines in ("", "keepalive_period = 7"))
    relay = make_relay(make_poller(), often, Patience())
    assert (relay.patience.silence, mux_settings(often).keepalive_interval) == (7, 7)
    change_relay(relay, usual)
    assert (relay.patience.silence, mux_settings(usual).keepalive_interval) == (25, 20)
    relay.close()
