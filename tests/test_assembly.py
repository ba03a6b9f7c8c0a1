"""The objects that are made from a configuration."""

import threading

import pytest
from tests.support.tunnel import server_config

from backhaul.assembly import change_relay, make_relay, mux_settings, prepare_keys
from backhaul.net.pollers import make_poller
from backhaul.relay.patience import Patience
from backhaul.security.psk import AT_ONCE, pre_shared_key


async def test_sessions_keep_half_of_what_the_program_may_hold_for_slow_peers() -> None:
    """Where memory is short, the default of 64 MiB and the backlogs together got the program killed."""
    small, boundless = (server_config("tcpmux", "127.0.0.1:1", [], f"resume_memory = {size}") for size in (1, 1 << 30))
    relay = make_relay(make_poller(), boundless, Patience())
    assert relay.resumption.memory == relay.budget.limit // 2
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


async def test_keys_of_several_tokens_are_made_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with 100 clients whose tokens a person has chosen listened after 12 seconds."""
    begun: list[bytes] = []
    met: list[bool] = []
    change = threading.Condition()

    def scrypt(password: bytes, **_options: object) -> bytes:
        with change:
            begun.append(password)
            change.notify_all()
            met.append(change.wait_for(lambda: len(begun) >= AT_ONCE, 10))
        return password

    monkeypatch.setattr("hashlib.scrypt", scrypt)
    clients = "".join(f'[server.clients.c{n}]\ntoken = "side by side {n}"\n' for n in range(2 * AT_ONCE))
    try:
        await prepare_keys(server_config("tcp", "127.0.0.1:1", [], clients))
    finally:
        pre_shared_key.cache_clear()  # other tests use the server's token, too
    assert met
    assert all(met)
