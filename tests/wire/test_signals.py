from backhaul.wire.signals import Signal


def test_the_values_are_those_of_v072() -> None:
    names = [Signal(value).name for value in range(7)]
    assert names == ["HEARTBEAT", "CHANNEL", "PING", "CLOSED", "TCP", "UDP", "RTT"]


def test_the_kinds_of_sealed_records_stay_what_they_are() -> None:
    kinds = [
        ("PROBE", 7),
        ("ANSWER", 8),
        ("REFUSED", 9),
        ("CHECK", 10),
        ("HEALTH", 11),
        ("MOVED", 12),
        ("ENDED", 13),
        ("REPLACED", 14),
        ("RENEWED", 15),
        ("UNREACHED", 16),
        ("REACHED", 17),
    ]
    assert [(signal.name, signal.value) for signal in Signal][7:] == kinds
