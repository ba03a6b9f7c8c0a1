from backhaul.wire.control import hello
from backhaul.wire.signals import Signal


def test_the_values_are_those_of_v072() -> None:
    names = [Signal(value).name for value in range(7)]
    assert names == ["HEARTBEAT", "CHANNEL", "PING", "CLOSED", "TCP", "UDP", "RTT"]


def test_a_v072_server_acts_on_no_byte_of_the_extensions() -> None:
    assert not set(hello("tcp")) & {Signal.CLOSED, Signal.RTT}
