from backhaul.wire.control import hello
from backhaul.wire.signals import Signal


def test_the_values_are_those_of_v072() -> None:
    names = [Signal(value).name for value in range(7)]
    assert names == ["HEARTBEAT", "CHANNEL", "PING", "CLOSED", "TCP", "UDP", "RTT"]


def test_what_is_ours_alone_is_none_of_the_bytes_that_a_v072_server_acts_on() -> None:
    assert not set(hello("tcp")) & {Signal.CLOSED, Signal.RTT}
